//! From what attention saw to a map of where the concept is.
//!
//! In each cross-attention, c is the probability of the class word's tokens and b that of the text's first token, where attention
//! goes that finds nothing; c / (c + b) is high where the concept is, whatever else the text says (the class map alone may be
//! inverted, and as sharp as the good ones). The quarter of the layers whose maps fall most clearly into two is averaged, and
//! gathered once by self-attention, which spreads it to the concept's borders (as in DiffSegmenter, Wang et al. 2023, arXiv
//! 2309.02773, section 3.3).

use crate::diffusion::{CrossSeen, Looks, Result};
use crate::image::{otsu, resize_map, stretch};

/// Which part of the evidence is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// The first or second half (0 or 1): of each head every other look, in turn with its neighbours, so that halves share no
    /// head's look.
    Half(usize),
}

impl Part {
    fn has(self, look: usize, head: usize) -> bool {
        match self {
            Self::All => true,
            Self::Half(half) => (look + head) % 2 == half,
        }
    }
}

/// Where the concept is, [h · w] in 0 to 1, and h and w. None without any contrast.
///
/// # Errors
/// A failing computation.
pub fn soft_map(looks: &Looks, part: Part) -> Result<Option<(Vec<f32>, (usize, usize))>> {
    let sizes = looks.cross.iter().map(|seen| seen.size).chain(looks.own.iter().map(|seen| seen.size));
    let Some(size) = sizes.max_by_key(|(h, w)| h * w) else { return Ok(None) };
    let mut layers = Vec::new();
    for seen in &looks.cross {
        let ratio = ratio(seen, part)?;
        if let Some(map) = stretch(&resize_map(&ratio, seen.size, size)) {
            layers.push((otsu(&map).1, map));
        }
    }
    layers.sort_by(|a, b| b.0.total_cmp(&a.0));
    layers.truncate(looks.cross.len().div_ceil(4));
    let Some(map) = mean(layers.iter().map(|(_, map)| map.as_slice()), size.0 * size.1) else { return Ok(None) };
    let mut gathered = Vec::new();
    for own in &looks.own {
        gathered.push(resize_map(&own.gather(&resize_map(&map, size, own.size))?, own.size, size));
    }
    let map = mean(gathered.iter().map(Vec::as_slice), map.len()).unwrap_or(map);
    Ok(stretch(&map).map(|map| (map, size)))
}

/// c / (c + b) of one cross-attention, [h · w].
fn ratio(seen: &CrossSeen, part: Part) -> Result<Vec<f32>> {
    let (looks, places, heads, _) = seen.probabilities.dims4()?;
    let numbers = seen.probabilities.flatten_all()?.to_vec1::<f32>()?;
    let mut sums = vec![[0f32; 2]; places];
    for (look, numbers) in numbers.chunks_exact(places * heads * 2).enumerate().take(looks) {
        for (sum, numbers) in sums.iter_mut().zip(numbers.chunks_exact(heads * 2)) {
            for (head, pair) in numbers.chunks_exact(2).enumerate().filter(|(head, _)| part.has(look, *head)) {
                debug_assert!(head < heads);
                sum[0] += pair[0];
                sum[1] += pair[1];
            }
        }
    }
    Ok(sums.iter().map(|[class, first]| class / (class + first).max(f32::MIN_POSITIVE)).collect())
}

fn mean<'a>(maps: impl Iterator<Item = &'a [f32]>, len: usize) -> Option<Vec<f32>> {
    let (mut sum, mut count) = (vec![0f32; len], 0);
    for map in maps {
        sum.iter_mut().zip(map).for_each(|(s, x)| *s += x);
        count += 1;
    }
    (count > 0).then(|| sum.iter().map(|s| s / count as f32).collect())
}
