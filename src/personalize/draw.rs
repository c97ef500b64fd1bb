//! What a step is about: a function of (seed, step) alone, so that a resumed training draws what it would have drawn.

use candle_core::Tensor;

use crate::diffusion::{Noise, Stream};
use crate::protocol::TrainConfig;

/// What one step is about.
pub struct Draw {
    /// Scaled latents [B, C, h, w].
    pub latents: Tensor,
    /// The noise to add [B, C, h, w].
    pub noise: Tensor,
    /// One a sample.
    pub timesteps: Vec<u32>,
    /// The caption of each sample, by its number among the captions of the training.
    pub captions: Vec<usize>,
    /// Loss weights [B, 1, h, w].
    pub masks: Option<Tensor>,
}

/// The captions, of `count`, of a batch of `batch` at `step`.
pub(super) fn captions_drawn(seed: u64, step: usize, batch: usize, count: usize) -> Vec<usize> {
    // Of a stream of their own: methods with one caption draw everything else alike.
    let mut noise = Noise::new(seed, Stream::Caption, step as u64);
    (0..batch).map(|_| if count > 1 { noise.below(count) } else { 0 }).collect()
}

/// The photos, of `photos`, that stand at `count` places from `first` on in passes over them. A pass holds each as often as
/// `config` says, and is shuffled as a whole: a function of (seed, pass) alone, so that a resumed training draws the same.
pub(super) fn photos_drawn(config: &TrainConfig, photos: usize, first: usize, count: usize) -> Vec<usize> {
    let length = photos * config.photo_repeats;
    let mut shuffled: Option<(usize, Vec<usize>)> = None;
    let mut drawn = Vec::with_capacity(count);
    for at in first..first + count {
        let pass = at / length;
        let order = match shuffled.take() {
            Some((known, order)) if known == pass => order,
            _ => Noise::new(config.seed, Stream::Order, pass as u64).permutation(length),
        };
        drawn.push(order[at % length] % photos);
        shuffled = Some((pass, order));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(config: &TrainConfig, photos: usize, count: usize) -> Vec<usize> {
        photos_drawn(config, photos, 0, count)
    }

    #[test]
    fn in_each_pass_every_photo_comes_as_often_as_it_is_repeated() {
        for repeats in [1, 100] {
            let config = TrainConfig { photo_repeats: repeats, ..TrainConfig::default() };
            let all = drawn(&config, 5, 3 * 5 * repeats);
            for pass in all.chunks(5 * repeats) {
                let counts: Vec<usize> = (0..5).map(|photo| pass.iter().filter(|at| **at == photo).count()).collect();
                assert_eq!(counts, [repeats; 5]);
            }
            assert_ne!(all[..5 * repeats], all[5 * repeats..10 * repeats], "passes differ");
            let other = TrainConfig { seed: 1, ..config.clone() };
            assert_ne!(drawn(&other, 5, 3 * 5 * repeats), all, "seeds differ");
        }
        let config = TrainConfig { photo_repeats: 100, ..TrainConfig::default() };
        let first = drawn(&config, 5, 100);
        assert!(first.windows(2).any(|pair| pair[0] == pair[1]), "a pass is shuffled as a whole: {first:?}");
    }

    #[test]
    fn what_a_step_draws_depends_on_no_step_before_it() {
        let config = TrainConfig { photo_repeats: 100, seed: 7, ..TrainConfig::default() };
        let all = drawn(&config, 3, 700);
        for first in [0, 299, 300, 599] {
            assert_eq!(photos_drawn(&config, 3, first, 4), all[first..first + 4]);
        }
    }

    #[test]
    fn photos_that_come_once_a_pass_are_drawn_as_ever() {
        // Pinned by the rule that earlier versions had: a resumed training must draw what it would have drawn.
        let config = TrainConfig { seed: 3, ..TrainConfig::default() };
        let ever = |at: usize| Noise::new(3, Stream::Order, (at / 4) as u64).permutation(4)[at % 4];
        assert_eq!(drawn(&config, 4, 40), (0..40).map(ever).collect::<Vec<_>>());
    }
}
