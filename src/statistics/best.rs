//! Which of several is best: picked on one half of the prompts and seeds and reported on the other, so that the luck it was picked
//! by is no part of what is said of it; and which others cannot be told from it, by tests that are corrected for their number (Holm
//! 1979). Of 15 equal ones the best lies 1.73 standard deviations above their mean by luck alone.

use std::collections::BTreeSet;

use super::Error;
use super::compare::{check, design, shared};
use super::estimate::{Design, LEAST_UNITS, Spread, bare, between_groups};
use super::record::{BALANCE, Estimates, MASKED_CLIP_I, SampleRecord, ScoreRecord};
use super::student::holm;
use crate::protocol::{Score, Unit};

/// Fewer prompts than these cannot be halved; of a single prompt, fewer pictures.
pub const LEAST_PROMPTS: usize = 2 * LEAST_UNITS;
/// A difference is found where its corrected p-value is not above this.
const FOUND: f64 = 0.05;

/// By what the best one is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Masked CLIP-I.
    MaskedClipI,
    /// Balance.
    Balance,
}

impl Goal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::MaskedClipI, Self::Balance];

    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::MaskedClipI => "masked CLIP-I",
            Self::Balance => "balance",
        }
    }

    fn place(self) -> usize {
        match self {
            Self::MaskedClipI => MASKED_CLIP_I,
            Self::Balance => BALANCE,
        }
    }
}

/// One of several against the best one.
#[derive(Debug, Clone, PartialEq)]
pub struct Versus {
    /// It minus the best one, on the pictures that the best was not picked on. The interval is that of this difference alone.
    pub difference: Score,
    /// The p-value of no difference, corrected for the number of comparisons.
    pub p: f64,
}

impl Versus {
    /// Whether it is worse than the best one.
    pub fn is_worse(&self) -> bool {
        self.p <= FOUND && self.difference.value < 0.0
    }

    /// Whether it is better than the one that was picked on the other half. What is neither worse nor better ties with it.
    pub fn is_better(&self) -> bool {
        self.p <= FOUND && self.difference.value > 0.0
    }
}

/// What comes of looking for the best.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Which one was picked.
    pub best: usize,
    /// What it is worth on the pictures that it was not picked on.
    pub value: Score,
    /// What was drawn.
    pub unit: Unit,
    /// Each against it; none of itself.
    pub versus: Vec<Option<Versus>>,
}

impl Ranking {
    /// Those that cannot be told from the best one.
    pub fn ties(&self) -> impl Iterator<Item = usize> {
        self.of_those(|versus| !versus.is_worse() && !versus.is_better())
    }

    /// Those that are better than it, which was picked by luck then.
    pub fn better(&self) -> impl Iterator<Item = usize> {
        self.of_those(Versus::is_better)
    }

    /// Whether there is one that all others are worse than.
    pub fn has_winner(&self) -> bool {
        self.of_those(|versus| !versus.is_worse()).next().is_none()
    }

    fn of_those(&self, is: impl Fn(&Versus) -> bool) -> impl Iterator<Item = usize> {
        let all = self.versus.iter().enumerate();
        all.filter(move |(_, versus)| versus.as_ref().is_some_and(&is)).map(|(at, _)| at)
    }
}

/// The pictures that all share, and on which half each is.
struct Halves {
    /// Those that the best is picked on.
    pick: Vec<usize>,
    /// Those that it is reported on.
    report: Vec<usize>,
}

impl Halves {
    /// Every other prompt, and where prompts share their seeds every other seed; of one prompt every other picture.
    fn of(samples: &[&SampleRecord]) -> Result<Self, Error> {
        let prompts: Vec<&str> = distinct(samples.iter().map(|sample| sample.prompt.as_str()));
        let seeds: Vec<u64> = distinct(samples.iter().filter_map(|sample| sample.seed));
        let place = |list: &[u64], seed: Option<u64>| seed.and_then(|seed| list.iter().position(|one| *one == seed));
        let few = |what: &str| {
            let problem =
                format!("it takes {LEAST_PROMPTS} {what} or more, half to pick it on and half to report it on");
            Err(Error::TooFew(problem))
        };
        let unit = design(samples).unit();
        let half = |sample: &SampleRecord| -> Option<usize> {
            let by_seed = place(&seeds, sample.seed)? % 2;
            let by_prompt = prompts.iter().position(|one| *one == sample.prompt)? % 2;
            match unit {
                Unit::Image => Some(by_seed),
                Unit::PromptAndSeed => (by_seed == by_prompt).then_some(by_prompt),
                _ => Some(by_prompt),
            }
        };
        match unit {
            Unit::Image if seeds.len() < LEAST_PROMPTS => return few("prompts, or pictures of one prompt,"),
            Unit::PromptAndSeed if seeds.len() < LEAST_PROMPTS => {
                return few("seeds, which these prompts share (`--shared-seeds`, or an earlier version's),");
            }
            Unit::Prompt | Unit::PromptAndSeed if prompts.len() < LEAST_PROMPTS => return few("prompts"),
            _ => {}
        }
        let on = |which: usize| (0..samples.len()).filter(|at| half(samples[*at]) == Some(which)).collect();
        Ok(Self { pick: on(0), report: on(1) })
    }
}

fn distinct<T: Ord + Copy>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

/// Which of `candidates` is best by `goal`. Each is the scorings of its trainings. With one training each, the pictures are
/// compared pair by pair, and the ranking speaks of these checkpoints. With several, the training is the unit, and it speaks of
/// their settings, at these prompts: the best one was picked by the luck of the same trainings, so all pairs are corrected for.
///
/// # Errors
/// Fewer than two candidates, scorings that cannot be compared, too few pictures to halve them, or too few trainings.
pub fn rank(candidates: &[Vec<&ScoreRecord>], goal: Goal) -> Result<Ranking, Error> {
    let records: Vec<&ScoreRecord> = candidates.iter().flatten().copied().collect();
    let Some(first) = records.first().filter(|_| candidates.len() > 1) else { return Err(Error::Nothing) };
    if candidates.iter().any(Vec::is_empty) {
        return Err(Error::Nothing);
    }
    records.iter().try_for_each(|record| check(first, record))?;
    let lists = shared(&records)?;
    let halves = Halves::of(&lists[0])?;
    // For each candidate the pictures of its trainings.
    let mut rest = lists.as_slice();
    let pictures: Vec<&[Vec<&SampleRecord>]> = candidates
        .iter()
        .map(|trainings| {
            let (own, others) = rest.split_at(trainings.len());
            rest = others;
            own
        })
        .collect();
    let estimates = |list: &Vec<&SampleRecord>, half: &[usize]| {
        Estimates::of(&half.iter().map(|at| list[*at]).collect::<Vec<_>>(), first.clip_text)
    };
    let values = |half: &[usize]| -> Vec<Vec<f64>> {
        let value = |list: &Vec<&SampleRecord>| estimates(list, half).0[goal.place()].value;
        pictures.iter().map(|lists| lists.iter().map(value).collect()).collect()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let picked = values(&halves.pick);
    let best = (0..candidates.len()).max_by(|a, b| mean(&picked[*a]).total_cmp(&mean(&picked[*b]))).unwrap_or(0);
    let rows = halves.report.len();
    if candidates.iter().all(|trainings| trainings.len() == 1) {
        let design: Design = design(&halves.report.iter().map(|at| lists[0][*at]).collect::<Vec<_>>());
        let of = |at: usize| estimates(&pictures[at][0], &halves.report).0[goal.place()].clone();
        let best_one = of(best);
        let found = (0..candidates.len()).map(|at| {
            let difference = of(at).minus(&best_one);
            (design.score(&difference), design.spread(&difference))
        });
        let found: Vec<(Score, Option<Spread>)> = found.collect();
        let p = |(score, spread): &(Score, Option<Spread>)| spread.map_or(1.0, |spread| spread.p_of_0(score.value));
        let others: Vec<usize> = (0..candidates.len()).filter(|at| *at != best).collect();
        let corrected = holm(&others.iter().map(|at| p(&found[*at])).collect::<Vec<_>>());
        let mut versus = vec![None; candidates.len()];
        for (at, p) in others.into_iter().zip(corrected) {
            versus[at] = Some(Versus { difference: found[at].0.clone(), p });
        }
        return Ok(Ranking { best, value: design.score(&best_one), unit: design.unit(), versus });
    }
    if let Some(few) = candidates.iter().map(Vec::len).find(|count| *count < LEAST_UNITS) {
        let problem = format!("it takes {LEAST_UNITS} trainings of each, and of one there are {few}");
        return Err(Error::TooFew(problem));
    }
    let reported = values(&halves.report);
    let pairs: Vec<(usize, usize)> = (0..candidates.len()).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
    let difference = |(a, b): (usize, usize)| mean(&reported[b]) - mean(&reported[a]);
    let p = |pair: &(usize, usize)| {
        between_groups(&reported, pair.0, pair.1).map_or(1.0, |spread| spread.p_of_0(difference(*pair)))
    };
    let corrected = holm(&pairs.iter().map(p).collect::<Vec<_>>());
    let versus = (0..candidates.len()).map(|at| {
        let place = pairs.iter().position(|pair| *pair == (at.min(best), at.max(best)))?;
        let (value, units) = (difference((best, at)), candidates[at].len().min(candidates[best].len()));
        let rows = rows * (candidates[at].len() + candidates[best].len());
        let spread = between_groups(&reported, best, at);
        let score = spread.map_or_else(|| bare(value, rows, units), |spread| spread.around(value, rows, units));
        Some(Versus { difference: score, p: corrected[place] })
    });
    let versus = versus.collect();
    let over = Design::of(Unit::Training, 0..reported[best].len());
    let value = over.score(&super::Estimate::mean(&reported[best]));
    Ok(Ranking { best, value: Score { n: rows * candidates[best].len(), ..value }, unit: Unit::Training, versus })
}
