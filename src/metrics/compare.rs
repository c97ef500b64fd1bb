//! Scorings against each other: pair by pair, and several concepts taken together.

use std::collections::{BTreeSet, HashMap};

use super::records::{self, PhotoRecord, Row, SCORES, SampleRecord, ScoreRecord, VALUES};
use super::{Bootstrap, Error};
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
pub(super) fn by_prompt<T>(rows: impl Iterator<Item = (String, T)>) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
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
    // What a mask says of itself is no part of what was measured.
    let pixels = |photo: &PhotoRecord| (photo.image.clone(), photo.mask.clone());
    let same = first.photos.iter().map(pixels).eq(second.photos.iter().map(pixels));
    if same { Ok(()) } else { Err(differ_in("the photos or their masks")) }
}

/// Samples of one prompt and seed.
type Pair<'a> = (&'a SampleRecord, &'a SampleRecord);

/// The samples of both sides for each prompt and seed they share, and how many had no partner.
fn pairs<'a>(first: &'a ScoreRecord, second: &'a ScoreRecord) -> Result<(Vec<Pair<'a>>, usize), Error> {
    let mut partners: HashMap<(&str, u64), Vec<&SampleRecord>> = HashMap::new();
    // Reversed, so that `pop` gives samples of the same prompt and seed in their order.
    for sample in second.samples.iter().rev() {
        partners.entry((&sample.prompt, sample.seed)).or_default().push(sample);
    }
    let partner = |a: &'a SampleRecord| Some((a, partners.get_mut(&(a.prompt.as_str(), a.seed))?.pop()?));
    let pairs: Vec<Pair> = first.samples.iter().filter_map(partner).collect();
    if pairs.is_empty() {
        return Err(Error::NotComparable("they share no prompt and seed".into()));
    }
    check_makers(&records::makers(pairs.iter().map(|(a, _)| *a)), &records::makers(pairs.iter().map(|(_, b)| *b)))?;
    let unpaired = first.samples.len() + second.samples.len() - 2 * pairs.len();
    Ok((pairs, unpaired))
}

/// Refuse masks that different makers made: what differs in masked scores may be the makers, not the pictures.
fn check_makers(first: &BTreeSet<&str>, second: &BTreeSet<&str>) -> Result<(), Error> {
    if first == second {
        return Ok(());
    }
    let words = |makers: &BTreeSet<&str>| match makers.len() {
        0 => "by nobody".to_owned(),
        _ => format!("by {}", makers.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    Err(differ_in(&format!("how the masks were made ({}; {})", words(first), words(second))))
}

/// The values of both samples of a pair.
fn row((a, b): &Pair) -> Row<{ 2 * VALUES }> {
    let (a, b) = (Row::of(a), Row::of(b));
    let values = std::array::from_fn(|i| if i < VALUES { a.values[i] } else { b.values[i - VALUES] });
    Row { values, is_doubtful: a.is_doubtful || b.is_doubtful }
}

fn differences(bootstrap: Bootstrap, groups: &[Vec<Row<{ 2 * VALUES }>>]) -> Scores {
    let statistics = |values: [f64; 2 * VALUES]| -> [f64; SCORES] {
        let side = |from: usize| records::statistics(std::array::from_fn(|i| values[from + i]));
        let (a, b) = (side(0), side(VALUES));
        std::array::from_fn(|i| b[i] - a[i])
    };
    records::scores(bootstrap, groups, statistics)
}

/// Compare `second` with `first`, pair by pair: what prompt and seed do to both cancels out, so the interval is narrower than the two on
/// their own. Resampled like a single scoring, with `first`'s settings.
///
/// # Errors
/// Records made with another model, preprocessing, fill, crop, photos, masks or maker of the samples' masks, or without a common
/// prompt and seed.
pub fn compare(first: &ScoreRecord, second: &ScoreRecord) -> Result<Difference, Error> {
    check(first, second)?;
    let (pairs, unpaired) = pairs(first, second)?;
    let rows = pairs.iter().map(|pair| (pair.0.prompt.clone(), row(pair)));
    Ok(Difference { scores: differences(first.bootstrap(), &by_prompt(rows)), unpaired })
}

/// Scorings of several concepts taken together, each a pair of sides. With several, whole concepts are resampled: the
/// intervals speak of other concepts of this kind.
///
/// # Errors
/// No pairs, what [`compare`] refuses of one, or pairs that differ from the first in model, preprocessing, fill, crop or maker of
/// the samples' masks.
pub fn pool(sides: &[(ScoreRecord, ScoreRecord)]) -> Result<Comparison, Error> {
    let (first, second) = sides.first().ok_or(Error::Nothing("scorings"))?;
    if sides.len() == 1 {
        let difference = compare(first, second)?;
        return Ok(Comparison { first: first.scores.clone(), second: second.scores.clone(), difference });
    }
    let (mut before, mut after, mut both, mut unpaired) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (a, b) in sides {
        check_judging(first, a)?;
        check_makers(&records::makers(&first.samples), &records::makers(&a.samples))?;
        check(a, b)?;
        let (pairs, alone) = pairs(a, b)?;
        before.push(a.samples.iter().map(Row::of).collect());
        after.push(b.samples.iter().map(Row::of).collect());
        both.push(pairs.iter().map(row).collect());
        unpaired += alone;
    }
    let bootstrap = first.bootstrap();
    Ok(Comparison {
        first: records::scores(bootstrap, &before, records::statistics),
        second: records::scores(bootstrap, &after, records::statistics),
        difference: Difference { scores: differences(bootstrap, &both), unpaired },
    })
}
