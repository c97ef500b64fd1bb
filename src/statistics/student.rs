//! Student's t distribution (Student 1908), and Holm's correction for many comparisons (Holm 1979).

use statrs::function::beta::beta_reg;

/// The part of Student's t with `degrees` of freedom that lies further from 0 than `t`, on both sides; 0..1.
pub fn two_sided(t: f64, degrees: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    let t = t.abs();
    // P(|T| > t) = I(degrees / (degrees + t²); degrees / 2, 1 / 2); near t = 0 by its complement, which loses no digits there.
    if t * t < degrees {
        1.0 - beta_reg(0.5, degrees / 2.0, t * t / (degrees + t * t))
    } else {
        beta_reg(degrees / 2.0, 0.5, degrees / (degrees + t * t))
    }
}

/// How far from 0 the middle 95 % of Student's t with `degrees` of freedom reach. `degrees` must be above 0.
pub fn reach_of_95(degrees: f64) -> f64 {
    let (mut low, mut high) = (1.9, 2.0);
    while two_sided(high, degrees) > 0.05 {
        high *= 2.0;
    }
    // Halving until the two are neighbours: some 60 rounds, whatever the degrees.
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if two_sided(middle, degrees) > 0.05 { low = middle } else { high = middle }
    }
}

/// The p-values of a family, corrected so that the chance of one false finding among all is what they say, in their order.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let (mut corrected, mut least) = (vec![0.0; p_values.len()], 0.0_f64);
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p_values[at] * (p_values.len() - rank) as f64).min(1.0));
        corrected[at] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (degrees, t) in [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042)] {
            assert!((reach_of_95(degrees) - t).abs() < 5e-4, "{degrees}: {}", reach_of_95(degrees));
            assert!((two_sided(reach_of_95(degrees), degrees) - 0.05).abs() < 1e-12);
        }
        assert!((two_sided(0.0, 4.0) - 1.0).abs() < 1e-15 && two_sided(f64::INFINITY, 4.0) == 0.0);
    }

    #[test]
    fn holm_corrects_the_least_by_all_and_the_greatest_by_none() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(corrected.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{corrected:?}");
        assert!(holm(&[]).is_empty());
    }
}
