//! Scorings against each other: pair by pair, and several concepts taken together.

use std::collections::HashMap;

use super::Error;
use super::records::{self, SampleRecord, ScoreRecord};
use super::statistics::balance;
use crate::protocol::Scores;

/// The difference of two scorings, second minus first, over the samples of the same prompt and seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// An interval that leaves out 0 speaks of a difference. `balance` is the difference of the two balances of means.
    pub scores: Scores,
    /// Samples of either side that had no partner.
    pub unpaired: usize,
}

/// Both sides and their difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The first side.
    pub first: Scores,
    /// The second side.
    pub second: Scores,
    /// Second minus first.
    pub difference: Difference,
}

/// The rows of one prompt after the other, prompts in order of appearance.
pub(super) fn by_prompt<const C: usize>(rows: impl Iterator<Item = (String, [f64; C])>) -> Vec<Vec<[f64; C]>> {
    let mut groups: Vec<Vec<[f64; C]>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for (prompt, row) in rows {
        let group = *index.entry(prompt).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(row);
    }
    groups
}

/// Why two scorings were not measured in the same way, if they were not.
fn check_judging(first: &ScoreRecord, second: &ScoreRecord) -> Result<(), Error> {
    let dino = |record: &ScoreRecord| {
        record.dino_judge.as_ref().map(|judge| (judge.backbone.sha256.clone(), judge.preprocessing.clone()))
    };
    let differences = [
        ("the score model", first.backbone.sha256 != second.backbone.sha256),
        ("the preprocessing", first.preprocessing != second.preprocessing),
        ("the fill", first.fill_colour != second.fill_colour),
        ("the crop", first.crop != second.crop),
        ("the DINO model", dino(first) != dino(second)),
    ];
    match differences.iter().find(|(_, differs)| *differs) {
        Some((what, _)) => Err(differ_in(what)),
        None => Ok(()),
    }
}

fn differ_in(what: &str) -> Error {
    Error::NotComparable(format!("they differ in {what}; score both again"))
}

/// Why two scorings of a concept measured different things, if they did.
fn check(first: &ScoreRecord, second: &ScoreRecord) -> Result<(), Error> {
    check_judging(first, second)?;
    if first.photos == second.photos { Ok(()) } else { Err(differ_in("the photos or their masks")) }
}

/// The values of both sides for each prompt and seed they share, by prompt, and how many samples had no partner.
fn pairs(first: &ScoreRecord, second: &ScoreRecord) -> (Vec<(String, [f64; 10])>, usize) {
    let mut partners: HashMap<(&str, u64), Vec<&SampleRecord>> = HashMap::new();
    // Reversed, so that `pop` gives samples of the same prompt and seed in their order.
    for sample in second.samples.iter().rev() {
        partners.entry((&sample.prompt, sample.seed)).or_default().push(sample);
    }
    let mut rows = Vec::new();
    for a in &first.samples {
        if let Some(b) = partners.get_mut(&(a.prompt.as_str(), a.seed)).and_then(Vec::pop) {
            let (a_row, b_row) = (records::row(a), records::row(b));
            rows.push((a.prompt.clone(), std::array::from_fn(|i| if i < 5 { a_row[i] } else { b_row[i - 5] })));
        }
    }
    let unpaired = first.samples.len() + second.samples.len() - 2 * rows.len();
    (rows, unpaired)
}

fn differences(bootstrap: super::Bootstrap, groups: &[Vec<[f64; 10]>]) -> Scores {
    let statistics =
        |[masked_a, whole_a, text_a, m_dino_a, dino_a, masked_b, whole_b, text_b, m_dino_b, dino_b]: [f64; 10]| {
            let balances = balance(masked_b, text_b) - balance(masked_a, text_a);
            [masked_b - masked_a, whole_b - whole_a, text_b - text_a, balances, m_dino_b - m_dino_a, dino_b - dino_a]
        };
    records::named(bootstrap.intervals::<10, 6>(groups, statistics))
}

/// Compare `second` with `first`, pair by pair: what prompt and seed do to both cancels out, so the interval is narrower than the two on
/// their own. Resampled like a single scoring, with `first`'s settings.
///
/// # Errors
/// Records made with another model, preprocessing, fill, crop, photos or masks, or without a common prompt and seed.
pub fn compare(first: &ScoreRecord, second: &ScoreRecord) -> Result<Difference, Error> {
    check(first, second)?;
    let (rows, unpaired) = pairs(first, second);
    if rows.is_empty() {
        return Err(Error::NotComparable("they share no prompt and seed".into()));
    }
    Ok(Difference { scores: differences(first.bootstrap(), &by_prompt(rows.into_iter())), unpaired })
}

/// Scorings of several concepts taken together, each a pair of sides. With several, whole concepts are resampled: the
/// intervals speak of other concepts of this kind.
///
/// # Errors
/// No pairs, what [`compare`] refuses of one, or pairs that differ from the first in model, preprocessing, fill or crop.
pub fn pool(sides: &[(ScoreRecord, ScoreRecord)]) -> Result<Comparison, Error> {
    let (first, second) = sides.first().ok_or(Error::Nothing("scorings"))?;
    if sides.len() == 1 {
        let difference = compare(first, second)?;
        return Ok(Comparison { first: first.scores.clone(), second: second.scores.clone(), difference });
    }
    let (mut before, mut after, mut both, mut unpaired) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (a, b) in sides {
        check_judging(first, a)?;
        check(a, b)?;
        let (rows, alone) = pairs(a, b);
        if rows.is_empty() {
            return Err(Error::NotComparable("they share no prompt and seed".into()));
        }
        before.push(a.samples.iter().map(records::row).collect());
        after.push(b.samples.iter().map(records::row).collect());
        both.push(rows.into_iter().map(|(_, row)| row).collect());
        unpaired += alone;
    }
    let bootstrap = first.bootstrap();
    Ok(Comparison {
        first: records::scores(bootstrap, &before),
        second: records::scores(bootstrap, &after),
        difference: Difference { scores: differences(bootstrap, &both), unpaired },
    })
}
