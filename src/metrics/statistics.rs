//! How sure a mean is: bootstrap percentile intervals (Efron & Tibshirani 1993, chapter 13) for samples that come in groups.
//!
//! Samples of one prompt resemble each other more than samples of different prompts, so taking all as independent would make the
//! intervals too narrow. Each resample therefore draws prompts with replacement and then, in each drawn prompt, its samples with
//! replacement. That covers both "other prompts of this kind" and "other seeds", errs on the wide side, and works with
//! a single prompt (then only seeds vary) as with one seed a prompt (then only prompts vary). The photos are not resampled: they define
//! the concept, and both sides of a comparison are measured on the same ones. An interval thus speaks of these photos.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::protocol::Score;

/// How intervals are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples; 0 makes every interval a point.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// sqrt(masked CLIP-I · CLIP-T). A cosine below 0 counts as 0: a concept or a prompt that is missed altogether balances with nothing,
/// and two misses do not make a hit.
pub fn balance(masked_clip_i: f64, clip_t: f64) -> f64 {
    (masked_clip_i.max(0.0) * clip_t.max(0.0)).sqrt()
}

impl Bootstrap {
    /// The 95 % intervals of `statistics`, a function of the means of the columns.
    ///
    /// `groups` are the prompts, each with the rows of its samples (`C` values a sample). A score's value is the statistic of the means over all
    /// rows, its ends the 2.5 % and 97.5 % percentiles over the resamples, widened to hold the value; n is the number of rows.
    /// The same seed draws the same resamples for every statistic. No rows give scores of NaN.
    pub fn intervals<const C: usize, const S: usize>(
        &self,
        groups: &[Vec<[f64; C]>],
        statistics: impl Fn([f64; C]) -> [f64; S],
    ) -> [Score; S] {
        let groups: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
        let n = groups.iter().map(|group| group.len()).sum();
        let values = statistics(mean(groups.iter().flat_map(|group| group.iter())));
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut draws: [Vec<f64>; S] = std::array::from_fn(|_| Vec::with_capacity(self.resamples));
        if n > 0 {
            let mut rows = Vec::with_capacity(n);
            for _ in 0..self.resamples {
                rows.clear();
                for _ in 0..groups.len() {
                    let group = groups[below(&mut random, groups.len())];
                    rows.extend((0..group.len()).map(|_| &group[below(&mut random, group.len())]));
                }
                for (draws, value) in draws.iter_mut().zip(statistics(mean(rows.iter().copied()))) {
                    draws.push(value);
                }
            }
        }
        std::array::from_fn(|index| {
            let (value, draws) = (values[index], &mut draws[index]);
            draws.sort_by(f64::total_cmp);
            let end = |fraction| percentile(draws, fraction).unwrap_or(value);
            Score { value, low: end(0.025).min(value), high: end(0.975).max(value), n }
        })
    }
}

/// An index below `count`. The bias of the remainder is below 2⁻³² for any list of prompts.
fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    (random.next_u64() % count as u64) as usize
}

fn mean<'a, const C: usize>(rows: impl Iterator<Item = &'a [f64; C]>) -> [f64; C] {
    let mut sums = [0.0; C];
    let mut count = 0.0;
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sums.map(|sum| sum / count)
}

/// Linear between the two nearest of the sorted values; none without values.
fn percentile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let position = fraction * sorted.len().checked_sub(1)? as f64;
    let (low, share) = (position.floor() as usize, position.fract());
    let next = sorted.get(low + 1).unwrap_or(&sorted[low]);
    Some(sorted[low] + (next - sorted[low]) * share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    // By name, since proptest's prelude has another trait of that name.
    use rand_chacha::rand_core::RngCore;

    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 1000, seed: 0 };

    fn one(groups: &[Vec<[f64; 1]>]) -> Score {
        let [score] = BOOTSTRAP.intervals(groups, |mean| mean);
        score
    }

    /// A standard normal value.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        let uniform = |random: &mut ChaCha8Rng| (random.next_u64() as f64 + 1.0) / 2_f64.powi(64);
        (-2.0 * uniform(random).ln()).sqrt() * (std::f64::consts::TAU * uniform(random)).cos()
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        // 10 prompts x 4 seeds, prompts differing as much as seeds: as many worlds as a test has time for, all of mean 0.
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut worlds = || -> Vec<Vec<[f64; 1]>> {
            (0..10)
                .map(|_| normal(&mut random))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|prompt| (0..4).map(|_| [prompt + normal(&mut random)]).collect())
                .collect()
        };
        let bootstrap = Bootstrap { resamples: 400, seed: 3 };
        let mut covered = [0, 0];
        for _ in 0..300 {
            let groups = worlds();
            let [grouped] = bootstrap.intervals(&groups, |mean| mean);
            let flat: Vec<Vec<[f64; 1]>> = groups.into_iter().flatten().map(|row| vec![row]).collect();
            let [ungrouped] = bootstrap.intervals(&flat, |mean| mean);
            for (covered, score) in covered.iter_mut().zip([grouped, ungrouped]) {
                *covered += i32::from(score.low <= 0.0 && 0.0 <= score.high);
            }
        }
        assert!((270..=297).contains(&covered[0]), "{} of 300 with prompts as groups", covered[0]);
        assert!(covered[1] < 255, "{} of 300 when samples are taken as independent", covered[1]);
    }

    #[test]
    fn one_prompt_and_one_seed_have_honest_ends() {
        let seeds = one(&[vec![[0.1], [0.2], [0.6]]]);
        assert!(seeds.low < 0.3 && seeds.high > 0.3 && seeds.n == 3, "{seeds:?}");
        let prompts = one(&[vec![[0.1]], vec![[0.2]], vec![[0.6]]]);
        assert!(prompts.low < 0.3 && prompts.high > 0.3, "{prompts:?}");
        let single = one(&[vec![[0.4]]]);
        assert_eq!((single.value, single.low, single.high, single.n), (0.4, 0.4, 0.4, 1));
        assert!(one(&[]).value.is_nan());
        let [point] = Bootstrap { resamples: 0, seed: 0 }.intervals(&[vec![[1.0], [2.0]]], |mean| mean);
        assert_eq!((point.value, point.low, point.high), (1.5, 1.5, 1.5));
    }

    #[test]
    fn balance_is_0_when_either_side_misses() {
        assert!((balance(0.64, 0.25) - 0.4).abs() < 1e-12);
        assert!(balance(-0.1, 0.3) == 0.0 && balance(0.3, -0.1) == 0.0 && balance(-0.5, -0.5) == 0.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_mean_and_stays_within_the_data(
            groups in prop::collection::vec(prop::collection::vec(-1.0..1.0_f64, 1..6), 1..6),
        ) {
            let rows: Vec<Vec<[f64; 1]>> =
                groups.iter().map(|group| group.iter().map(|&value| [value]).collect()).collect();
            let score = one(&rows);
            let all = groups.concat();
            let (least, most) = all.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
            prop_assert!(least - 1e-12 <= score.low && score.low <= score.value);
            prop_assert!(score.value <= score.high && score.high <= most + 1e-12);
            prop_assert_eq!(score.n, all.len());
            prop_assert_eq!(&one(&rows), &score, "the same seed gives the same interval");
            let shifted: Vec<Vec<[f64; 1]>> =
                rows.iter().map(|group| group.iter().map(|[value]| [value + 5.0]).collect()).collect();
            let moved = one(&shifted);
            prop_assert!((moved.low - score.low - 5.0).abs() < 1e-9 && (moved.high - score.high - 5.0).abs() < 1e-9);
        }
    }
}
