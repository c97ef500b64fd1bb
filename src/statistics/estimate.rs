//! How sure a mean is, from what was drawn at random.
//!
//! Samples of one prompt resemble each other, so it is prompts, not samples, that an interval is drawn from: Student's t of the sums of
//! each prompt. Where prompts share their seeds, samples of one seed resemble each other too: the two are crossed, and the variance of
//! the mean comes from the crossed random-effects ANOVA, (MS prompts + MS seeds − MS rest) / n, with Satterthwaite's degrees of freedom
//! (Satterthwaite 1946; Searle, Casella & McCulloch 1992, chapter 4). Balance and differences are linearized: what each row adds to
//! them to first order stands for the row.
//!
//! The photos are not drawn: they define the concept, and both sides of a comparison are measured on the same ones. An
//! interval speaks of these photos.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::student::{reach_of_95, two_sided};
use crate::protocol::{Score, Unit};

/// Fewer units than these have no interval.
pub const LEAST_UNITS: usize = 3;

/// sqrt(likeness · CLIP-T). A cosine below 0 counts as 0: a concept or a prompt that is missed altogether balances with nothing,
/// and two misses do not make a hit.
pub fn balance(likeness: f64, clip_t: f64) -> f64 {
    (likeness.max(0.0) * clip_t.max(0.0)).sqrt()
}

/// A statistic of rows, and what each row adds to it to first order; NaN of a row that has no part in it.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The statistic; NaN where no row has a part in it.
    pub value: f64,
    /// Rows that it was measured on.
    pub rows: usize,
    parts: Vec<f64>,
}

impl Estimate {
    /// The mean of a column, in which NaN was not measured.
    pub fn mean(column: &[f64]) -> Self {
        let measured = || column.iter().filter(|value| !value.is_nan());
        let rows = measured().count();
        let count = rows as f64;
        let value = measured().sum::<f64>() / count;
        Self { value, rows, parts: column.iter().map(|of_row| (of_row - value) / count).collect() }
    }

    /// The balance of two means of the same rows.
    pub fn balance(likeness: &Self, clip_t: &Self) -> Self {
        if likeness.value.is_nan() || clip_t.value.is_nan() {
            return Self { value: f64::NAN, rows: 0, parts: vec![f64::NAN; likeness.parts.len()] };
        }
        let value = balance(likeness.value, clip_t.value);
        // Without bound where either is 0: there is no interval then.
        let slopes = [clip_t.value / (2.0 * value), likeness.value / (2.0 * value)];
        let rows = likeness.rows.max(clip_t.rows);
        Self { value, rows, parts: together(&likeness.parts, &clip_t.parts, slopes) }
    }

    /// It without `other`, of the same rows.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let (value, rows) = (self.value - other.value, self.rows.max(other.rows));
        Self { value, rows, parts: together(&self.parts, &other.parts, [1.0, -1.0]) }
    }
}

/// Two lists of parts, each times its slope; what has a part in one of them has one.
fn together(a: &[f64], b: &[f64], slopes: [f64; 2]) -> Vec<f64> {
    let or_0 = |part: f64| if part.is_nan() { 0.0 } else { part };
    let both = |(&a, &b): (&f64, &f64)| {
        if a.is_nan() && b.is_nan() { f64::NAN } else { slopes[0] * or_0(a) + slopes[1] * or_0(b) }
    };
    a.iter().zip(b).map(both).collect()
}

/// How far an estimate is from the truth: by its standard error times Student's t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Standard error.
    pub error: f64,
    /// Degrees of freedom.
    pub degrees: f64,
}

impl Spread {
    /// The p-value of a true value of 0, both sides.
    pub fn p_of_0(self, value: f64) -> f64 {
        if value == 0.0 { 1.0 } else { two_sided(value / self.error, self.degrees) }
    }

    /// `value`, of `n` rows, with its 95 % interval.
    pub fn around(self, value: f64, n: usize, units: usize) -> Score {
        let reach = self.error * reach_of_95(self.degrees);
        Score { value, low: value - reach, high: value + reach, n, units: Some(units) }
    }
}

/// `value` with its interval where its spread is known, else without.
pub fn scored(spread: Option<Spread>, value: f64, n: usize, units: usize) -> Score {
    spread.map_or_else(|| bare(value, n, units), |spread| spread.around(value, n, units))
}

/// The mean of some values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A value without an interval.
pub fn bare(value: f64, n: usize, units: usize) -> Score {
    Score { value, low: value, high: value, n, units: Some(units.min(LEAST_UNITS - 1)) }
}

/// Which rows were drawn together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    unit: Unit,
    /// The unit of each row.
    units: Vec<usize>,
    /// The seed of each row, where units share seeds.
    seeds: Option<Vec<usize>>,
}

impl Design {
    /// Rows whose `units` were drawn.
    pub fn of<T: Hash + Eq>(unit: Unit, units: impl IntoIterator<Item = T>) -> Self {
        Self { unit, units: numbered(units), seeds: None }
    }

    /// Pictures of prompts and seeds: prompts were drawn; of one prompt its pictures. A picture without a seed has one of its
    /// own.
    pub fn of_pictures<'a>(pictures: impl IntoIterator<Item = (&'a str, Option<u64>)>) -> Self {
        let pictures: Vec<_> = pictures.into_iter().collect();
        let units = numbered(pictures.iter().map(|(prompt, _)| prompt));
        let seed = |(at, (_, seed)): (usize, &(_, Option<u64>))| seed.ok_or(at);
        let seeds = numbered(pictures.iter().enumerate().map(seed));
        if units.iter().all(|unit| *unit == 0) {
            // Several pictures of one seed were sampled otherwise, not drawn anew.
            return Self { unit: Unit::Image, units: seeds, seeds: None };
        }
        let mut prompt_of: HashMap<usize, usize> = HashMap::new();
        let is_shared = seeds.iter().zip(&units).any(|(seed, unit)| prompt_of.entry(*seed).or_insert(*unit) != unit);
        let unit = if is_shared { Unit::PromptAndSeed } else { Unit::Prompt };
        Self { unit, units, seeds: is_shared.then_some(seeds) }
    }

    /// What was drawn.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// `estimate` of these rows with its interval; without one where fewer than [`LEAST_UNITS`] were drawn.
    pub fn score(&self, estimate: &Estimate) -> Score {
        scored(self.spread(estimate), estimate.value, estimate.rows, self.count(estimate))
    }

    /// Units that have a part in `estimate`; where they share seeds, the fewer of both.
    fn count(&self, estimate: &Estimate) -> usize {
        let units = sums(&self.units, &estimate.parts).len();
        self.seeds.as_ref().map_or(units, |seeds| units.min(sums(seeds, &estimate.parts).len()))
    }

    /// How sure `estimate` of these rows is; none where fewer than [`LEAST_UNITS`] were drawn, or where it does not depend on them
    /// smoothly.
    pub fn spread(&self, estimate: &Estimate) -> Option<Spread> {
        if self.count(estimate) < LEAST_UNITS {
            return None;
        }
        let of_units = Component::of(&sums(&self.units, &estimate.parts));
        let spread = match &self.seeds {
            None => of_units.spread(),
            Some(seeds) => {
                let of_seeds = Component::of(&sums(seeds, &estimate.parts));
                match self.rest(seeds, &estimate.parts) {
                    Some(rest) => crossed(of_units, of_seeds, rest),
                    // Not all prompts with all seeds: what the two have in common is counted twice, which is too much, not too little.
                    None => satterthwaite(&[(of_units, 1.0), (of_seeds, 1.0)]),
                }
            }
        };
        Some(spread).filter(|spread| spread.error.is_finite())
    }

    /// What is neither of the prompt nor of the seed, where each prompt has each seed once.
    fn rest(&self, seeds: &[usize], parts: &[f64]) -> Option<Component> {
        let rows: Vec<(usize, usize, f64)> =
            (0..parts.len()).filter(|&i| !parts[i].is_nan()).map(|i| (self.units[i], seeds[i], parts[i])).collect();
        let (of_units, of_seeds) = (sums(&self.units, parts), sums(seeds, parts));
        let (p, s) = (of_units.len() as f64, of_seeds.len() as f64);
        let cells: HashSet<(usize, usize)> = rows.iter().map(|(unit, seed, _)| (*unit, *seed)).collect();
        if cells.len() != rows.len() || cells.len() != of_units.len() * of_seeds.len() {
            return None;
        }
        let squares =
            rows.iter().map(|(unit, seed, part)| (p * s * part - p * of_units[unit] - s * of_seeds[seed]).powi(2));
        let degrees = (p - 1.0) * (s - 1.0);
        Some(Component { variance: squares.sum::<f64>() / degrees / (p * s), degrees })
    }
}

/// A part of the variance of a mean, and the degrees of freedom it was estimated with.
#[derive(Debug, Clone, Copy)]
struct Component {
    variance: f64,
    degrees: f64,
}

impl Component {
    /// Of what the units add to the mean.
    fn of(sums: &HashMap<usize, f64>) -> Self {
        let degrees = sums.len() as f64 - 1.0;
        // In one order, whatever the map's: sums of floating point numbers depend on it.
        let mut all: Vec<f64> = sums.values().copied().collect();
        all.sort_by(f64::total_cmp);
        Self { variance: (degrees + 1.0) / degrees * all.iter().map(|sum| sum * sum).sum::<f64>(), degrees }
    }

    fn spread(self) -> Spread {
        Spread { error: self.variance.sqrt(), degrees: self.degrees }
    }
}

/// Of crossed units and seeds. The estimate of the variance can come out smaller than the estimate of either alone, even below 0: then
/// the larger of these stands for it, with up to twice its degrees of freedom. With its own, intervals of few prompts would cover the
/// truth in 98 cases of 100; `tests/suite/statistics.rs` has the simulation.
fn crossed(of_units: Component, of_seeds: Component, rest: Component) -> Spread {
    let whole = satterthwaite(&[(of_units, 1.0), (of_seeds, 1.0), (rest, -1.0)]);
    let larger = if of_units.variance >= of_seeds.variance { of_units } else { of_seeds };
    let falls_short = whole.error.is_nan() || whole.error * whole.error < larger.variance;
    if falls_short {
        let degrees = (2.0 * larger.degrees).min(of_units.degrees + of_seeds.degrees);
        Component { degrees, ..larger }.spread()
    } else {
        whole
    }
}

/// Of a sum of components, each with its sign. NaN where the sum is below 0.
fn satterthwaite(components: &[(Component, f64)]) -> Spread {
    let variance: f64 = components.iter().map(|(component, sign)| sign * component.variance).sum();
    let below: f64 = components.iter().map(|(component, _)| component.variance.powi(2) / component.degrees).sum();
    let degrees = if below == 0.0 { components[0].0.degrees } else { (variance * variance / below).max(1.0) };
    Spread { error: variance.sqrt(), degrees }
}

/// Of several groups of values, each of one setting: how sure the difference of the means of two of them is. The spread within
/// groups is the spread of the two (Welch 1947) or of all (the ANOVA's), whichever is larger, with the degrees of freedom of
/// the latter; of two groups alone with Welch's. None with fewer than two values in a group, or fewer than [`LEAST_UNITS`]
/// in one of the two.
pub fn between_groups(groups: &[Vec<f64>], a: usize, b: usize) -> Option<Spread> {
    if groups.iter().any(|group| group.len() < 2) || [a, b].iter().any(|&at| groups[at].len() < LEAST_UNITS) {
        return None;
    }
    let squares = |group: &Vec<f64>| {
        let mean = mean(group);
        group.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let of_mean = |group: &Vec<f64>| {
        let (count, degrees) = (group.len() as f64, group.len() as f64 - 1.0);
        Component { variance: squares(group) / degrees / count, degrees }
    };
    let own = satterthwaite(&[(of_mean(&groups[a]), 1.0), (of_mean(&groups[b]), 1.0)]);
    if groups.len() == 2 {
        return Some(own);
    }
    let degrees = groups.iter().map(|group| group.len() as f64 - 1.0).sum::<f64>();
    let within = groups.iter().map(squares).sum::<f64>() / degrees;
    let of_all = (within * (1.0 / groups[a].len() as f64 + 1.0 / groups[b].len() as f64)).sqrt();
    Some(Spread { error: own.error.max(of_all), degrees })
}

/// Equal things by the same number, from 0 on in order of appearance.
fn numbered<T: Hash + Eq>(all: impl IntoIterator<Item = T>) -> Vec<usize> {
    let mut known: HashMap<T, usize> = HashMap::new();
    all.into_iter()
        .map(|one| {
            let next = known.len();
            *known.entry(one).or_insert(next)
        })
        .collect()
}

/// The sum of the parts of each unit that has any.
fn sums(units: &[usize], parts: &[f64]) -> HashMap<usize, f64> {
    let mut sums = HashMap::new();
    for (unit, part) in units.iter().zip(parts).filter(|(_, part)| !part.is_nan()) {
        *sums.entry(*unit).or_insert(0.0) += part;
    }
    sums
}
