//! From what attention saw to a map of where the concept is.
//!
//! In each cross-attention, c is the probability of the class word's tokens and b the probability of the text's first token, where
//! attention goes that finds nothing; c / (c + b) is high where the concept is, whatever else the text says (the class map alone may be
//! inverted, and as sharp as the good ones). The quarter of the layers whose maps fall most clearly into two is averaged, and gathered
//! once by self-attention, which spreads it to the concept's borders (as in DiffSegmenter, Wang et al. 2023, arXiv 2309.02773, section
//! 3.3).

use crate::diffusion::{CrossSeen, Looks, Result};
use crate::image::{otsu, resize_map, stretch};

/// Which part of the evidence is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// The even or the odd heads (0 or 1).
    Heads(usize),
    /// The first or the second half of the looks (0 or 1): other timesteps, and other draws of noise. All where there is one look.
    Looks(usize),
    /// The even or the odd layers of self-attention that gather. All where there is one.
    Own(usize),
}

impl Part {
    fn has(self, (look, looks): (usize, usize), head: usize) -> bool {
        match self {
            Self::Heads(half) => head % 2 == half,
            Self::Looks(half) if looks > 1 => {
                if half == 0 {
                    look < looks / 2
                } else {
                    look >= looks - looks / 2
                }
            }
            Self::All | Self::Looks(_) | Self::Own(_) => true,
        }
    }

    fn has_own(self, layer: usize, layers: usize) -> bool {
        match self {
            Self::Own(half) if layers > 1 => layer % 2 == half,
            _ => true,
        }
    }
}

/// Where the concept is.
pub struct SoftMap {
    /// [h · w] in 0 to 1.
    pub map: Vec<f32>,
    /// h and w.
    pub size: (usize, usize),
    /// How clearly it falls in two: the share of its variance between both classes, 0 to 1.
    pub separability: f64,
}

/// Where the concept is by each part of the evidence; none without any contrast.
///
/// # Errors
/// A failing computation.
pub fn soft_maps(looks: &Looks, parts: &[Part]) -> Result<Vec<Option<SoftMap>>> {
    let sizes = looks.cross.iter().map(|seen| seen.size).chain(looks.own.iter().map(|seen| seen.size));
    let size = sizes.max_by_key(|(h, w)| h * w).unwrap_or((1, 1));
    let merged = parts.iter().map(|&part| merge(looks, part, size)).collect::<Result<Vec<_>>>()?;
    let there = parts.iter().copied().zip(&merged).filter_map(|(part, map)| Some((part, map.clone()?))).collect();
    let mut gathered = gather(looks, there, size)?.into_iter();
    let mut soft = |map: Option<Vec<f32>>| {
        let map = map.and_then(|_| gathered.next()).and_then(|map| stretch(&map))?;
        let separability = otsu(&map).1;
        Some(SoftMap { map, size, separability })
    };
    Ok(merged.into_iter().map(&mut soft).collect())
}

/// The clearest quarter of the cross-attentions, averaged.
fn merge(looks: &Looks, part: Part, size: (usize, usize)) -> Result<Option<Vec<f32>>> {
    let mut layers = Vec::new();
    for seen in &looks.cross {
        let ratio = ratio(seen, part)?;
        if let Some(map) = stretch(&resize_map(&ratio, seen.size, size)) {
            layers.push((otsu(&map).1, map));
        }
    }
    layers.sort_by(|a, b| b.0.total_cmp(&a.0));
    layers.truncate(looks.cross.len().div_ceil(4));
    Ok(mean(layers.into_iter().map(|(_, map)| map)))
}

/// What self-attention gathers of each part's map, averaged over the layers that the part has.
fn gather(looks: &Looks, maps: Vec<(Part, Vec<f32>)>, size: (usize, usize)) -> Result<Vec<Vec<f32>>> {
    if looks.own.is_empty() || maps.is_empty() {
        return Ok(maps.into_iter().map(|(_, map)| map).collect());
    }
    let mut sums = vec![vec![0f32; size.0 * size.1]; maps.len()];
    for (layer, own) in looks.own.iter().enumerate() {
        let small: Vec<Vec<f32>> = maps.iter().map(|(_, map)| resize_map(map, size, own.size)).collect();
        let gathered = own.gather(&small)?;
        for ((sum, (part, _)), gathered) in sums.iter_mut().zip(&maps).zip(gathered) {
            if part.has_own(layer, looks.own.len()) {
                sum.iter_mut().zip(resize_map(&gathered, own.size, size)).for_each(|(s, x)| *s += x);
            }
        }
    }
    Ok(sums)
}

/// c / (c + b) of one cross-attention, [h · w].
fn ratio(seen: &CrossSeen, part: Part) -> Result<Vec<f32>> {
    let (looks, places, heads, _) = seen.probabilities.dims4()?;
    let numbers = seen.probabilities.flatten_all()?.to_vec1::<f32>()?;
    let mut sums = vec![[0f32; 2]; places];
    for (look, numbers) in numbers.chunks_exact(places * heads * 2).enumerate().take(looks) {
        for (sum, numbers) in sums.iter_mut().zip(numbers.chunks_exact(heads * 2)) {
            for (_, pair) in numbers.chunks_exact(2).enumerate().filter(|(head, _)| part.has((look, looks), *head)) {
                sum[0] += pair[0];
                sum[1] += pair[1];
            }
        }
    }
    Ok(sums.iter().map(|[class, first]| class / (class + first).max(f32::MIN_POSITIVE)).collect())
}

fn mean(maps: impl Iterator<Item = Vec<f32>>) -> Option<Vec<f32>> {
    let (mut sum, mut count): (Option<Vec<f32>>, f32) = (None, 0.0);
    for map in maps {
        count += 1.0;
        sum = Some(match sum.take() {
            None => map,
            Some(mut sum) => {
                sum.iter_mut().zip(map).for_each(|(s, x)| *s += x);
                sum
            }
        });
    }
    sum.map(|sum| sum.iter().map(|s| s / count).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// A cross-attention of 8 × 8 places in two heads and two looks: what is seen of class word and first token at each place.
    fn seen(at: impl Fn(usize, usize) -> [f32; 2]) -> CrossSeen {
        let one: Vec<f32> = (0..64).flat_map(|place| [at(place % 8, place / 8); 2].concat()).collect();
        let probabilities = Tensor::from_vec([one.clone(), one].concat(), (2, 64, 2, 2), &Device::Cpu).unwrap();
        CrossSeen { size: (8, 8), heads: 2, probabilities }
    }

    fn in_square(x: usize, y: usize) -> bool {
        (2..6).contains(&x) && (3..7).contains(&y)
    }

    #[test]
    fn a_layer_whose_class_map_is_inverted_does_not_turn_the_map_around() {
        // Here the class word gets less inside, but the first token gets less still.
        let inverted = seen(|x, y| if in_square(x, y) { [0.1, 0.01] } else { [0.3, 0.5] });
        let noisy = |seed: usize| seen(move |x, y| [0.1 + 0.01 * ((x * 7 + y * 3 + seed) % 5) as f32, 0.3]);
        let looks = Looks { cross: vec![noisy(1), inverted, noisy(2), noisy(4)], own: Vec::new() };
        for part in [Part::All, Part::Heads(0), Part::Heads(1), Part::Looks(0), Part::Looks(1), Part::Own(0)] {
            let soft = soft_maps(&looks, &[part]).unwrap().remove(0).unwrap();
            assert_eq!(soft.size, (8, 8));
            assert!(soft.separability > 0.99, "{part:?}");
            for (place, x) in soft.map.iter().enumerate() {
                let expected = f32::from(u8::from(in_square(place % 8, place / 8)));
                assert!((x - expected).abs() < 1e-6, "{part:?} at {place}: {x}");
            }
        }
    }

    #[test]
    fn what_is_the_same_everywhere_gives_no_map() {
        let looks = Looks { cross: vec![seen(|_, _| [0.2, 0.4])], own: Vec::new() };
        assert!(soft_maps(&looks, &[Part::All]).unwrap()[0].is_none());
    }

    #[test]
    fn halves_share_no_head_and_no_look() {
        for look in 0..3 {
            for head in 0..4 {
                assert_ne!(Part::Heads(0).has((look, 3), head), Part::Heads(1).has((look, 3), head));
                assert!(!(Part::Looks(0).has((look, 3), head) && Part::Looks(1).has((look, 3), head)));
            }
        }
        assert!(Part::Looks(0).has((0, 1), 0) && Part::Looks(1).has((0, 1), 0), "one look cannot be halved");
    }
}
