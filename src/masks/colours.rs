//! How likely a colour is to be the concept's or the scene's: mixtures of Gaussians in RGB (as in GrabCut: Rother, Kolmogorov
//! and Blake 2004, "GrabCut", section 3).

/// Gaussians of a mixture.
const COMPONENTS: usize = 5;

/// Added to each variance, of 0 to 255 squared: one colour has some width, too.
const LEAST_VARIANCE: f64 = 4.0;

/// A colour, 0 to 255 each.
pub type Colour = [f64; 3];

/// One Gaussian.
#[derive(Debug, Clone)]
struct Gaussian {
    weight: f64,
    mean: Colour,
    /// The inverse of its covariance.
    inverse: [[f64; 3]; 3],
    /// The logarithm of its weight over the root of the covariance's determinant.
    log_scale: f64,
    /// The direction in which it is widest, and its variance there.
    widest: (Colour, f64),
}

/// A mixture of them.
#[derive(Debug, Clone)]
pub struct Mixture(Vec<Gaussian>);

/// Sums from which a Gaussian follows.
#[derive(Clone, Default)]
struct Moments {
    count: f64,
    sum: Colour,
    squares: [[f64; 3]; 3],
}

impl Moments {
    fn add(&mut self, colour: &Colour, weight: f64) {
        self.count += weight;
        for i in 0..3 {
            self.sum[i] += weight * colour[i];
            for j in 0..3 {
                self.squares[i][j] += weight * colour[i] * colour[j];
            }
        }
    }

    /// The Gaussian of a share `count / total` of all.
    fn gaussian(&self, total: f64) -> Gaussian {
        let mean = self.sum.map(|sum| sum / self.count);
        let covariance: [[f64; 3]; 3] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let own = if i == j { LEAST_VARIANCE } else { 0.0 };
                self.squares[i][j] / self.count - mean[i] * mean[j] + own
            })
        });
        let cofactor = |i: usize, j: usize| {
            let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
            covariance[a][c] * covariance[b][d] - covariance[a][d] * covariance[b][c]
        };
        let determinant = (0..3).map(|j| covariance[0][j] * cofactor(0, j)).sum::<f64>().max(1e-6);
        let inverse = std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant));
        let weight = self.count / total;
        let log_scale = weight.max(1e-12).ln() - 0.5 * determinant.ln();
        Gaussian { weight, mean, inverse, log_scale, widest: widest(&covariance) }
    }
}

/// The direction in which a covariance is widest, by power iteration, and the variance there.
fn widest(covariance: &[[f64; 3]; 3]) -> (Colour, f64) {
    let times = |v: &Colour| -> Colour { std::array::from_fn(|i| (0..3).map(|j| covariance[i][j] * v[j]).sum()) };
    let mut v: Colour = [0.577, 0.578, 0.576];
    let mut variance = 0.0;
    for _ in 0..32 {
        let next = times(&v);
        variance = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if variance <= 0.0 {
            break;
        }
        v = next.map(|x| x / variance);
    }
    (v, variance)
}

impl Gaussian {
    fn log_density(&self, colour: &Colour) -> f64 {
        let d: Colour = std::array::from_fn(|i| colour[i] - self.mean[i]);
        let distance: f64 = (0..3).map(|i| d[i] * (0..3).map(|j| self.inverse[i][j] * d[j]).sum::<f64>()).sum();
        self.log_scale - 0.5 * distance
    }
}

impl Mixture {
    /// The mixture of weighted `colours`: the widest Gaussian is split in two until there are five (Orchard and Bouman 1991), then
    /// each colour goes to its likeliest for a few rounds. None without colours.
    pub fn of(colours: &[(Colour, f64)]) -> Option<Self> {
        let total: f64 = colours.iter().map(|(_, weight)| weight).sum();
        if colours.is_empty() || total <= 0.0 {
            return None;
        }
        let mut part = vec![0usize; colours.len()];
        let moments = |part: &[usize], count: usize| {
            let mut moments = vec![Moments::default(); count];
            colours.iter().zip(part).for_each(|((colour, weight), &part)| moments[part].add(colour, *weight));
            moments
        };
        let mut gaussians = vec![moments(&part, 1)[0].gaussian(total)];
        while gaussians.len() < COMPONENTS {
            let scatter = |g: &Gaussian| g.weight * g.widest.1;
            let Some(split) =
                (0..gaussians.len()).max_by(|&a, &b| scatter(&gaussians[a]).total_cmp(&scatter(&gaussians[b])))
            else {
                break;
            };
            let (direction, mean) = (gaussians[split].widest.0, gaussians[split].mean);
            let new = gaussians.len();
            for ((colour, _), part) in colours.iter().zip(&mut part).filter(|(_, part)| **part == split) {
                let side: f64 = (0..3).map(|i| direction[i] * (colour[i] - mean[i])).sum();
                if side > 0.0 {
                    *part = new;
                }
            }
            let moments = moments(&part, new + 1);
            if moments[split].count < 1.0 || moments[new].count < 1.0 {
                // One colour only: it cannot be split.
                part.iter_mut().filter(|part| **part == new).for_each(|part| *part = split);
                break;
            }
            gaussians = moments.iter().map(|moments| moments.gaussian(total)).collect();
        }
        let mut mixture = Self(gaussians);
        for _ in 0..2 {
            for ((colour, _), part) in colours.iter().zip(&mut part) {
                *part = mixture.likeliest(colour);
            }
            let moments = moments(&part, mixture.0.len());
            let kept = moments.iter().filter(|moments| moments.count >= 1e-3);
            mixture = Self(kept.map(|moments| moments.gaussian(total)).collect());
        }
        Some(mixture)
    }

    fn likeliest(&self, colour: &Colour) -> usize {
        let density = |i: &usize| self.0[*i].log_density(colour);
        (0..self.0.len()).max_by(|a, b| density(a).total_cmp(&density(b))).unwrap_or(0)
    }

    /// The logarithm of the density at `colour`, up to a constant that all mixtures share.
    pub fn log_density(&self, colour: &Colour) -> f64 {
        let most = self.0.iter().map(|g| g.log_density(colour)).fold(f64::NEG_INFINITY, f64::max);
        most + self.0.iter().map(|g| (g.log_density(colour) - most).exp()).sum::<f64>().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_likelier_where_there_are_more_like_it() {
        let spread = |colour: Colour, n: usize| (0..n).map(move |i| (colour.map(|c| c + (i % 5) as f64), 1.0));
        let colours: Vec<_> = spread([200.0, 30.0, 30.0], 300).chain(spread([20.0, 20.0, 220.0], 100)).collect();
        let mixture = Mixture::of(&colours).unwrap();
        let (red, blue, green) = ([202.0, 32.0, 32.0], [22.0, 22.0, 222.0], [30.0, 200.0, 30.0]);
        let at = |colour: Colour| mixture.log_density(&colour);
        assert!(at(red) > at(blue) && at(blue) > at(green) + 50.0, "{} {} {}", at(red), at(blue), at(green));
    }

    #[test]
    fn one_colour_is_a_mixture_too() {
        let mixture = Mixture::of(&[([7.0; 3], 1.0); 40]).unwrap();
        assert!(mixture.log_density(&[7.0; 3]).is_finite());
        assert!(mixture.log_density(&[7.0; 3]) > mixture.log_density(&[9.0; 3]));
        assert!(Mixture::of(&[]).is_none());
    }
}
