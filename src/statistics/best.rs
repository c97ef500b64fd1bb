//! Which of several is best: picked on one half of the prompts and seeds and reported on the other, so that the luck it was picked
//! by is no part of what is said of it; and which others cannot be told from it, by tests that are corrected for their number (Holm
//! 1979). Of 15 equal ones the best lies 1.73 standard deviations above their mean by luck alone.

use std::collections::BTreeSet;

use super::Error;
use super::compare::{check, shared};
use super::estimate::{Design, Estimate, LEAST_UNITS, between_groups, mean, scored};
use super::record::{BALANCE, Estimates, MASKED_CLIP_I, SampleRecord, ScoreRecord, design};
use super::student::holm;
use crate::protocol::{ClipText, Score, Unit};

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
    /// It minus the best one, on the pictures that the best was not picked on. The interval is of this difference alone.
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
    let reading = Reading { pictures, text: first.clip_text, goal };
    let picked = reading.values(&halves.pick);
    let best = (0..candidates.len()).max_by(|a, b| mean(&picked[*a]).total_cmp(&mean(&picked[*b]))).unwrap_or(0);
    if candidates.iter().all(|trainings| trainings.len() == 1) {
        return Ok(reading.of_checkpoints(best, &halves.report));
    }
    match candidates.iter().map(Vec::len).find(|count| *count < LEAST_UNITS) {
        None => Ok(reading.of_trainings(best, &halves.report)),
        Some(few) => {
            Err(Error::TooFew(format!("it takes {LEAST_UNITS} trainings of each, and of one there are {few}")))
        }
    }
}

/// What candidates are compared by.
struct Reading<'a> {
    /// For each candidate the pictures of its trainings.
    pictures: Vec<&'a [Vec<&'a SampleRecord>]>,
    text: ClipText,
    goal: Goal,
}

impl Reading<'_> {
    fn estimate(&self, list: &[&SampleRecord], half: &[usize]) -> Estimate {
        let Estimates(all) = Estimates::of(&half.iter().map(|at| list[*at]).collect::<Vec<_>>(), self.text);
        all[self.goal.place()].clone()
    }

    /// The value of each training of each candidate on `half` of the pictures.
    fn values(&self, half: &[usize]) -> Vec<Vec<f64>> {
        let value = |list: &Vec<&SampleRecord>| self.estimate(list, half).value;
        self.pictures.iter().map(|lists| lists.iter().map(value).collect()).collect()
    }

    /// Each against the `best`, pair by pair of the pictures of `half`; corrected for as many comparisons as there are others.
    fn of_checkpoints(&self, best: usize, half: &[usize]) -> Ranking {
        let design = design(&half.iter().map(|at| self.pictures[best][0][*at]).collect::<Vec<_>>());
        let of = |at: usize| self.estimate(&self.pictures[at][0], half);
        let best_one = of(best);
        let others: Vec<usize> = (0..self.pictures.len()).filter(|at| *at != best).collect();
        let differences: Vec<Estimate> = others.iter().map(|at| of(*at).minus(&best_one)).collect();
        let p = |difference: &Estimate| design.spread(difference).map_or(1.0, |spread| spread.p_of_0(difference.value));
        let corrected = holm(&differences.iter().map(p).collect::<Vec<_>>());
        let mut versus = vec![None; self.pictures.len()];
        for ((at, difference), p) in others.into_iter().zip(&differences).zip(corrected) {
            versus[at] = Some(Versus { difference: design.score(difference), p });
        }
        Ranking { best, value: design.score(&best_one), unit: design.unit(), versus }
    }

    /// Each against the `best` over trainings; corrected for all pairs, as the best was picked by the luck of the same trainings.
    fn of_trainings(&self, best: usize, half: &[usize]) -> Ranking {
        let reported = self.values(half);
        let pairs: Vec<(usize, usize)> = (0..reported.len()).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
        let difference = |a: usize, b: usize| mean(&reported[b]) - mean(&reported[a]);
        let p = |&(a, b): &(usize, usize)| {
            between_groups(&reported, a, b).map_or(1.0, |spread| spread.p_of_0(difference(a, b)))
        };
        let corrected = holm(&pairs.iter().map(p).collect::<Vec<_>>());
        let versus = (0..reported.len()).map(|at| {
            let place = pairs.iter().position(|pair| *pair == (at.min(best), at.max(best)))?;
            let (own, of_best) = (reported[at].len(), reported[best].len());
            let (rows, units) = (half.len() * (own + of_best), own.min(of_best));
            let score = scored(between_groups(&reported, best, at), difference(best, at), rows, units);
            Some(Versus { difference: score, p: corrected[place] })
        });
        let versus = versus.collect();
        let trainings = reported[best].len();
        let value = Design::of(Unit::Training, 0..trainings).score(&Estimate::mean(&reported[best]));
        Ranking { best, value: Score { n: half.len() * trainings, ..value }, unit: Unit::Training, versus }
    }
}
