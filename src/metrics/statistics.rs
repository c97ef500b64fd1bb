//! How sure a mean is: bootstrap percentile intervals (Efron & Tibshirani 1993, chapter 13) for samples that come in groups.
//!
//! Samples of one prompt resemble each other more than samples of different prompts, so taking all as independent would make the
//! intervals too narrow. Each resample therefore draws whole prompts with replacement: their means vary with the prompt and with
//! the seeds, so that covers both "other prompts of this kind" and "other seeds". With a single prompt its samples are drawn.
//! Few draws of few prompts vary too little; the percentiles are moved outwards by as much as Student's t is wider than the
//! normal distribution (the expanded percentile interval of Hesterberg 2015, arXiv 1411.5279, section 4.1), so that 95 of 100
//! intervals cover the truth from about 8 prompts on. The photos are not resampled: they define the concept, and both sides of a
//! comparison are measured on the same ones. An interval thus speaks of these photos.

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
    /// rows, its ends the expanded percentiles over the resamples, widened to hold the value; n is the number of rows.
    /// The same seed draws the same resamples for every statistic. No rows give scores of NaN.
    pub fn intervals<const C: usize, const S: usize>(
        &self,
        groups: &[Vec<[f64; C]>],
        statistics: impl Fn([f64; C]) -> [f64; S],
    ) -> [Score; S] {
        let groups: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
        let n = groups.iter().map(|group| group.len()).sum();
        let values = statistics(mean(groups.iter().flat_map(|group| group.iter())));
        // Sums and counts of what is drawn as one.
        let units: Vec<([f64; C], f64)> = match groups.as_slice() {
            [one] => one.iter().map(|row| (*row, 1.0)).collect(),
            many => many.iter().map(|group| (sum(group.iter()), group.len() as f64)).collect(),
        };
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut draws: [Vec<f64>; S] = std::array::from_fn(|_| Vec::with_capacity(self.resamples));
        if n > 0 {
            for _ in 0..self.resamples {
                let (mut sums, mut count) = ([0.0; C], 0.0);
                for _ in 0..units.len() {
                    let (of_unit, rows) = &units[below(&mut random, units.len())];
                    sums.iter_mut().zip(of_unit).for_each(|(sum, value)| *sum += value);
                    count += rows;
                }
                for (draws, value) in draws.iter_mut().zip(statistics(sums.map(|sum| sum / count))) {
                    draws.push(value);
                }
            }
        }
        let tail = expanded_tail(units.len());
        std::array::from_fn(|index| {
            let (value, draws) = (values[index], &mut draws[index]);
            draws.sort_by(f64::total_cmp);
            let end = |fraction| percentile(draws, fraction).unwrap_or(value);
            Score { value, low: end(tail).min(value), high: end(1.0 - tail).max(value), n }
        })
    }
}

/// The fraction of resamples below a 95 % interval over the means of `units`: Φ(−√(n / (n − 1)) · t), t the 97.5 % point of
/// Student's t with n − 1 degrees of freedom.
fn expanded_tail(units: usize) -> f64 {
    if units < 2 {
        return 0.025;
    }
    let n = units as f64;
    let x = (n / (n - 1.0)).sqrt() * student_t(n - 1.0);
    0.5 * libm::erfc(x / std::f64::consts::SQRT_2)
}

/// The 97.5 % point of Student's t: known for 1 and 2 degrees of freedom, beyond by its series about the normal point
/// (Abramowitz & Stegun 26.7.5), within 1 % from 3 degrees on.
fn student_t(degrees: f64) -> f64 {
    if degrees < 1.5 {
        return 12.706;
    }
    if degrees < 2.5 {
        return 4.303;
    }
    let z = 1.959_964_f64;
    let [z3, z5, z7, z9] = [3, 5, 7, 9].map(|power| z.powi(power));
    let terms = [
        (z3 + z) / 4.0,
        (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0,
        (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0,
        (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * z) / 92160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / degrees) + z
}

/// An index below `count`. The bias of the remainder is below 2⁻³² for any list of prompts.
fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    (random.next_u64() % count as u64) as usize
}

fn sum<'a, const C: usize>(rows: impl Iterator<Item = &'a [f64; C]>) -> [f64; C] {
    let mut sums = [0.0; C];
    rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
    sums
}

fn mean<'a, const C: usize>(rows: impl Iterator<Item = &'a [f64; C]> + Clone) -> [f64; C] {
    let count = rows.clone().count() as f64;
    sum(rows).map(|sum| sum / count)
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

    /// Of 100 intervals, how many hold the truth when `prompts` prompts, whose means differ by `between`, have `seeds`
    /// samples each that differ by 1: taken as groups, and all as independent.
    fn coverage(prompts: usize, seeds: usize, between: f64) -> [f64; 2] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let bootstrap = Bootstrap { resamples: 500, seed: 3 };
        let worlds = 1500;
        let mut covered = [0, 0];
        for _ in 0..worlds {
            let groups: Vec<Vec<[f64; 1]>> = (0..prompts)
                .map(|_| {
                    let prompt = between * normal(&mut random);
                    (0..seeds).map(|_| [prompt + normal(&mut random)]).collect()
                })
                .collect();
            let [grouped] = bootstrap.intervals(&groups, |mean| mean);
            let flat: Vec<Vec<[f64; 1]>> = groups.into_iter().flatten().map(|row| vec![row]).collect();
            let [ungrouped] = bootstrap.intervals(&flat, |mean| mean);
            for (covered, score) in covered.iter_mut().zip([grouped, ungrouped]) {
                *covered += i32::from(score.low <= 0.0 && 0.0 <= score.high);
            }
        }
        covered.map(|covered| f64::from(covered) / f64::from(worlds) * 100.0)
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        // Prompts that differ as much as seeds, less, more and not at all; one seed a prompt; one prompt.
        for (prompts, seeds, between) in
            [(10, 4, 1.0), (25, 4, 0.3), (10, 4, 3.0), (12, 4, 0.0), (30, 1, 1.0), (1, 20, 0.0), (8, 2, 1.0)]
        {
            let [grouped, _] = coverage(prompts, seeds, between);
            assert!((93.0..=97.0).contains(&grouped), "{grouped} % at {prompts} x {seeds}, {between}");
        }
        let [_, ungrouped] = coverage(10, 4, 1.0);
        assert!(ungrouped < 85.0, "{ungrouped} % when samples are taken as independent");
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (degrees, t) in [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042)] {
            assert!((student_t(degrees) / t - 1.0).abs() < 0.01, "{degrees}: {}", student_t(degrees));
        }
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
