//! Scorings against each other: pair by pair, and several concepts or trainings taken together.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Error;
use super::estimate::{Design, Estimate, between_groups, mean, scored};
use super::record::{
    self, Estimates, PhotoRecord, SCORES, SampleRecord, ScoreRecord, by_name, design, named, with_certain,
};
use crate::protocol::{ClipText, NoiseKind, Score, Scores, Unit};

/// The difference of two scorings, second minus first, over the samples of the same prompt and seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// An interval that leaves out 0 speaks of a difference. `balance` is the difference of the two balances.
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
pub(super) fn check(first: &ScoreRecord, second: &ScoreRecord) -> Result<(), Error> {
    check_judging(first, second)?;
    // What a mask says of itself is no part of what was measured.
    let pixels = |photo: &PhotoRecord| (photo.image.clone(), photo.mask.clone());
    let same = first.photos.iter().map(pixels).eq(second.photos.iter().map(pixels));
    if !same {
        return Err(differ_in("the photos or their masks"));
    }
    let noise = |record: &ScoreRecord| record.noise.map(NoiseKind::word);
    if let (Some(a), Some(b)) = (noise(first), noise(second))
        && a != b
    {
        let problem = format!("a seed is another noise in each ({a}; {b}), so their pictures are no pairs");
        return Err(Error::NotComparable(format!("{problem}; sample both with the same noise")));
    }
    if let (Some(a), Some(b)) = (first.size, second.size)
        && a != b
    {
        let words = |size: (u32, u32)| format!("{} × {}", size.0, size.1);
        let problem =
            format!("their pictures have other sizes ({}; {}), so a seed is another noise", words(a), words(b));
        return Err(Error::NotComparable(format!("{problem} and they are no pairs")));
    }
    Ok(())
}

/// A prompt and a seed.
pub(super) type Key<'a> = (&'a str, u64);

/// The samples of `record` by prompt and seed. One without a seed has no place among them, and neither have several pictures of the
/// same prompt and seed: which of them is whose partner cannot be known.
pub(super) fn by_key(record: &ScoreRecord) -> HashMap<Key<'_>, &SampleRecord> {
    let (mut found, mut several): (HashMap<Key, &SampleRecord>, HashSet<Key>) = (HashMap::new(), HashSet::new());
    for sample in &record.samples {
        let Some(seed) = sample.seed else { continue };
        let key = (sample.prompt.as_str(), seed);
        let known = found.entry(key).or_insert(sample);
        if known.image != sample.image || known.mask != sample.mask {
            several.insert(key);
        }
    }
    found.retain(|key, _| !several.contains(key));
    found
}

/// The samples of all `records` for each prompt and seed that they share, in the order of the first. One list a record.
pub(super) fn shared<'a>(records: &[&'a ScoreRecord]) -> Result<Vec<Vec<&'a SampleRecord>>, Error> {
    let Some(first) = records.first() else { return Err(Error::Nothing) };
    let all: Vec<_> = records.iter().map(|record| by_key(record)).collect();
    let mut seen = HashSet::new();
    let keys: Vec<Key> = first
        .samples
        .iter()
        .filter_map(|sample| Some((sample.prompt.as_str(), sample.seed?)))
        .filter(|key| seen.insert(*key) && all.iter().all(|of_record| of_record.contains_key(key)))
        .collect();
    if keys.is_empty() {
        let has_seeds = |record: &&&ScoreRecord| record.samples.iter().any(|sample| sample.seed.is_some());
        let problem = match records.iter().find(|record| !has_seeds(record)) {
            Some(_) => "the pictures of one of them say no seed, so none has a partner",
            None => "they share no prompt and seed",
        };
        return Err(Error::NotComparable(problem.into()));
    }
    let lists: Vec<Vec<&SampleRecord>> =
        all.iter().map(|of_record| keys.iter().filter_map(|key| of_record.get(key).copied()).collect()).collect();
    for list in &lists[1..] {
        check_makers(&makers(&lists[0]), &makers(list))?;
    }
    Ok(lists)
}

fn makers<'a>(samples: &[&'a SampleRecord]) -> BTreeSet<&'a str> {
    record::makers(samples.iter().copied())
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

/// Two scorings of one concept, and the pictures of both that have a partner.
struct Pairs<'a> {
    first: &'a ScoreRecord,
    second: &'a ScoreRecord,
    sides: [Vec<&'a SampleRecord>; 2],
}

impl<'a> Pairs<'a> {
    fn between(first: &'a ScoreRecord, second: &'a ScoreRecord) -> Result<Self, Error> {
        check(first, second)?;
        let mut lists = shared(&[first, second])?.into_iter();
        let sides = [lists.next().unwrap_or_default(), lists.next().unwrap_or_default()];
        Ok(Self { first, second, sides })
    }

    fn unpaired(&self) -> usize {
        self.first.samples.len() + self.second.samples.len() - 2 * self.sides[0].len()
    }

    /// Both sides, of all pairs or of those in which neither mask is doubtful.
    fn sides(&self, certain: bool) -> [Vec<&'a SampleRecord>; 2] {
        let counts = |at: &usize| !certain || self.sides.iter().all(|side| !side[*at].is_doubtful());
        let kept: Vec<usize> = (0..self.sides[0].len()).filter(counts).collect();
        self.sides.each_ref().map(|side| kept.iter().map(|at| side[*at]).collect())
    }

    /// Second minus first.
    fn estimates(&self, [a, b]: &[Vec<&SampleRecord>; 2]) -> Estimates {
        let text = self.first.clip_text;
        Estimates::of(b, text).minus(&Estimates::of(a, text))
    }

    fn difference(&self) -> Difference {
        let of = |sides: &[Vec<&SampleRecord>; 2]| {
            let design = design(&sides[0]);
            named(&self.estimates(sides), design.unit(), |estimate| design.score(estimate))
        };
        let [all, certain] = [false, true].map(|certain| self.sides(certain));
        let scores = with_certain(of(&all), all[0].len(), certain[0].len(), || of(&certain));
        Difference { scores, unpaired: self.unpaired() }
    }
}

/// Compare `second` with `first`, pair by pair: what prompt and seed do to both cancels out, so the interval is narrower than the two on
/// their own.
///
/// # Errors
/// Records made with another model, preprocessing, fill, crop, photos, masks, noise or maker of the samples' masks, or without a
/// common prompt and seed.
pub fn compare(first: &ScoreRecord, second: &ScoreRecord) -> Result<Difference, Error> {
    Ok(Pairs::between(first, second)?.difference())
}

/// Values of one unit (a training, a subject), and how many rows they were measured on.
type OfUnit = ([f64; SCORES], usize);

/// The means over units, with Student's t.
fn over(unit: Unit, units: &[OfUnit]) -> Scores {
    let rows: usize = units.iter().map(|(_, rows)| rows).sum();
    by_name(
        std::array::from_fn(|at| {
            let values: Vec<f64> = units.iter().map(|(values, _)| values[at]).collect();
            let score = Design::of(unit, 0..values.len()).score(&Estimate::mean(&values));
            Score { n: rows, ..score }
        }),
        unit,
    )
}

/// The means over units, and where some masks are doubtful those without. `values` gives the units, of all their pictures or only of
/// those that are certain.
fn over_certain(unit: Unit, values: impl Fn(bool) -> Vec<OfUnit>) -> Scores {
    let rows = |units: &[OfUnit]| units.iter().map(|(_, rows)| rows).sum();
    let (all, certain) = (values(false), values(true));
    with_certain(over(unit, &all), rows(&all), rows(&certain), || over(unit, &certain))
}

/// The mean of the values of several, and their rows together; none of none.
fn mean_of(all: impl Iterator<Item = OfUnit>) -> Option<OfUnit> {
    let (mut sums, mut rows, mut count) = ([0.0; SCORES], 0, 0.0);
    for (values, of_rows) in all.filter(|(_, rows)| *rows > 0) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        (rows, count) = (rows + of_rows, count + 1.0);
    }
    (rows > 0).then(|| (sums.map(|sum| sum / count), rows))
}

fn values_of(samples: &[&SampleRecord], text: ClipText) -> OfUnit {
    (Estimates::of(samples, text).values(), samples.len())
}

/// The trainings of one subject: for each what it is compared with, and its own scoring.
pub type Trainings = Vec<(ScoreRecord, ScoreRecord)>;

/// Scorings of several subjects or several trainings taken together, each a pair of sides. Of several subjects the subject is the
/// unit: the intervals speak of other subjects of this kind, and the trainings of each are averaged first. Of several trainings of
/// one subject the training is: the intervals speak of other trainings with these settings, at these prompts. Of one of both
/// it is [`compare`].
///
/// # Errors
/// No pairs, what [`compare`] refuses of one, or pairs that differ from the first in model, preprocessing, fill, crop or maker of
/// the samples' masks.
pub fn pool(subjects: &[Trainings]) -> Result<Comparison, Error> {
    let (first, second) = subjects.iter().flatten().next().ok_or(Error::Nothing)?;
    let mut all: Vec<Vec<Pairs>> = Vec::new();
    for trainings in subjects.iter().filter(|trainings| !trainings.is_empty()) {
        for (a, _) in trainings {
            check_judging(first, a)?;
            check_makers(&record::makers(&first.samples), &record::makers(&a.samples))?;
        }
        all.push(trainings.iter().map(|(a, b)| Pairs::between(a, b)).collect::<Result<_, _>>()?);
    }
    if let [trainings] = all.as_slice()
        && let [pairs] = trainings.as_slice()
    {
        let (first, second) = (first.scores_of(), second.scores_of());
        return Ok(Comparison { first, second, difference: pairs.difference() });
    }
    let unpaired = all.iter().flatten().map(Pairs::unpaired).sum();
    let of_one_subject = all.len() == 1;
    let (unit, units) = if of_one_subject {
        (Unit::Training, all.into_iter().flatten().map(|pairs| vec![pairs]).collect())
    } else {
        (Unit::Subject, all)
    };
    let together = |of: &dyn Fn(&Pairs, bool) -> OfUnit| {
        let mean_of_unit = |pairs: &Vec<Pairs>, certain: bool| mean_of(pairs.iter().map(|pairs| of(pairs, certain)));
        over_certain(unit, |certain| units.iter().filter_map(|pairs| mean_of_unit(pairs, certain)).collect())
    };
    let side = |record: &ScoreRecord, certain: bool| values_of(&record.distinct_samples(certain), record.clip_text);
    let is_one_baseline = units.iter().flatten().all(|pairs| pairs.first.samples == first.samples);
    Ok(Comparison {
        first: if of_one_subject && is_one_baseline {
            // What comes without a training does not differ from training to training.
            first.scores_of()
        } else {
            together(&|pairs, certain| side(pairs.first, certain))
        },
        second: together(&|pairs, certain| side(pairs.second, certain)),
        difference: Difference {
            scores: together(&|pairs, certain| {
                let sides = pairs.sides(certain);
                (pairs.estimates(&sides).values(), sides[0].len())
            }),
            unpaired,
        },
    })
}

/// Two groups of trainings compared, second minus first: the training is the unit, so the interval speaks of what the settings of the
/// two do, at these prompts (Welch 1947).
///
/// # Errors
/// A group of none, scorings that [`compare`] refuses to compare, or no prompt and seed that all share.
pub fn compare_groups(first: &[ScoreRecord], second: &[ScoreRecord]) -> Result<Comparison, Error> {
    let all: Vec<&ScoreRecord> = first.iter().chain(second).collect();
    let (Some(a), Some(_)) = (first.first(), second.first()) else { return Err(Error::Nothing) };
    all.iter().try_for_each(|record| check(a, record))?;
    let lists = shared(&all)?;
    let pictures = lists[0].len();
    let is_certain = |at: usize| lists.iter().all(|list| !list[at].is_doubtful());
    let certain = (0..pictures).filter(|at| is_certain(*at)).count();
    // The values of each training, of the pictures that `counts` takes by their place.
    let values = |lists: &[Vec<&SampleRecord>], counts: &dyn Fn(&SampleRecord, usize) -> bool| -> Vec<OfUnit> {
        let of_training = |list: &Vec<&SampleRecord>| {
            let counted = list.iter().enumerate().filter(|(at, sample)| counts(sample, *at));
            values_of(&counted.map(|(_, sample)| *sample).collect::<Vec<_>>(), a.clip_text)
        };
        lists.iter().map(of_training).collect()
    };
    let (one, other) = lists.split_at(first.len());
    let side = |lists: &[Vec<&SampleRecord>]| {
        over_certain(Unit::Training, |certain| values(lists, &|sample, _| !(certain && sample.is_doubtful())))
    };
    let difference =
        |counts: &dyn Fn(&SampleRecord, usize) -> bool| between(&values(one, counts), &values(other, counts));
    let scores = with_certain(difference(&|_, _| true), pictures, certain, || difference(&|_, at| is_certain(at)));
    let unpaired = all.iter().map(|record| record.samples.len() - pictures).sum();
    Ok(Comparison { first: side(one), second: side(other), difference: Difference { scores, unpaired } })
}

/// The differences of the means of two groups.
fn between(one: &[OfUnit], other: &[OfUnit]) -> Scores {
    // Pictures of each training.
    let rows = one.first().map_or(0, |(_, rows)| *rows);
    let score = |at: usize| {
        let groups = [one, other].map(|group| group.iter().map(|(values, _)| values[at]).collect::<Vec<_>>());
        let [a, b] = groups.each_ref().map(|group| mean(group));
        scored(between_groups(&groups, 0, 1), b - a, rows, one.len().min(other.len()))
    };
    by_name(std::array::from_fn(score), Unit::Training)
}
