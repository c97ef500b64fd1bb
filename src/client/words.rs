//! How commands and screens alike put things into words.

use std::borrow::Cow;

pub use crate::fs::shell;
use crate::fs::{Show, is_shown};
use crate::image::Provenance;
use crate::protocol::{
    BothScores, JobInfo, MASK_MARGIN, MaskDependence, OtherConcept, Phase, PhaseProgress, PictureConfig, Score, Scores,
    Unit, UsedConcept, text_of, two_digits,
};

/// What a job is busy with.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "reading the base model",
        Phase::Cache => "encoding the photos",
        Phase::Train => "training",
        Phase::SampleBefore => "sampling the untrained class",
        Phase::Sample => "sampling the concept",
        Phase::Score => "scoring",
        Phase::Mask => "making masks",
    }
}

/// How far a job is that runs, where its events tell.
pub fn far(job: &JobInfo) -> Option<String> {
    // The number first: a narrow row has room for little else.
    let percent = |PhaseProgress { phase: at, done, total }| format!("{} %, {}", 100 * done / total.max(1), phase(at));
    job.step.map(|step| format!("step {step}")).or_else(|| job.progress.map(percent))
}

/// `1 prompt`, `2 prompts`.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `mask doubtful 0.41`.
pub fn doubtful(confidence: f64) -> String {
    format!("mask doubtful {}", two_digits(confidence))
}

/// Seconds, minutes or hours.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// A duration that may be far below a second.
pub fn short_duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s => duration(s),
    }
}

/// A value of a setting, as it is typed.
pub fn setting(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(setting).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// Settings with their values: `layers 0,1,2, steps 500`.
pub fn settings(table: &toml::Table) -> String {
    table.iter().map(|(name, value)| format!("{name} {}", setting(value))).collect::<Vec<_>>().join(", ")
}

/// The row that says which settings of a training come from the concept's file; none where none does.
pub fn from_concept(kept: &toml::Table) -> Option<(&'static str, String)> {
    (!kept.is_empty()).then(|| ("starts from", format!("concept.toml: {}", settings(kept))))
}

/// `text` on one line, without what would move the cursor of a terminal, change its colours or turn its writing.
pub fn plain(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| !is_shown(c);
    if text.contains(harmful) { text.replace(harmful, " ").into() } else { text.into() }
}

/// What a picture says of how it was made, as names and values.
pub fn provenance(said: &Provenance) -> Vec<(String, String)> {
    let record = match said {
        Provenance::Record(record) => record,
        Provenance::Parameters(parameters) => {
            let first = [("prompt", &parameters.prompt), ("negative_prompt", &parameters.negative_prompt)];
            let first = first.into_iter().filter(|(_, text)| !text.is_empty());
            let first = first.map(|(name, text)| (name.to_owned(), text.clone()));
            return first.chain(parameters.settings.iter().cloned()).collect();
        }
        Provenance::Unread(keywords) => return vec![("text".into(), keywords.join(", "))],
        Provenance::Nothing => return Vec::new(),
    };
    let mut rows = vec![("prompt", record.picture.prompt.clone())];
    rows.extend(PictureConfig::ROWS.iter().map(|row| (row.name, text_of(&record.picture.value(row.name)))));
    rows.extend([
        ("uncond_prefix", record.uncond_prefix.to_string()),
        ("every_prompt", record.every_prompt.to_string()),
        ("concept", record.concept.clone()),
        ("class_word", record.class_word.clone()),
        ("base_model", record.base_model.path.shown().to_string()),
        ("base_model_sha256", record.base_model_sha256.clone()),
    ]);
    match &record.checkpoint {
        Some(used) => {
            rows.push(("checkpoint", used.path.shown().to_string()));
            rows.push(("checkpoint_sha256", used.sha256.clone().unwrap_or_else(|| "not kept".into())));
            rows.push(("trained_steps", used.step.to_string()));
        }
        None => rows.push(("checkpoint", "none".into())),
    }
    for UsedConcept { concept, sha256 } in &record.concepts {
        let OtherConcept { name, class_word, checkpoint, strength } = concept;
        let value = format!("{name} ({class_word}) at {strength}: {} (sha256 {sha256})", checkpoint.shown());
        rows.push(("concepts", value));
    }
    if let Some([from, to]) = record.concept_steps {
        rows.push(("concept_steps", format!("{from}..{to}")));
    }
    for file in &record.embeddings {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let word = file.token.as_ref().map_or(String::new(), |token| format!(" = {token}"));
        rows.push(("embeddings", format!("{name}{word} (sha256 {})", file.sha256)));
    }
    rows.extend([
        ("batch_size", record.batch_size.to_string()),
        ("device", record.device.to_string()),
        ("dtype", record.dtype.to_string()),
        ("size", format!("{} × {}", record.width, record.height)),
        ("version", record.version.clone()),
    ]);
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Bytes in the largest fitting unit.
pub fn bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        mib if mib >= 1024.0 => format!("{:.1} GiB", mib / 1024.0),
        mib if mib >= 1.0 || bytes == 0 => format!("{mib:.0} MiB"),
        mib => format!("{:.0} KiB", (mib * 1024.0).max(1.0)),
    }
}

/// How a score changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is higher.
    Up,
    /// It is lower.
    Down,
    /// It cannot be told from chance.
    Unclear,
    /// There are too few prompts to tell.
    Few,
}

impl Change {
    /// From one score to another: by their difference over pairs of pictures of the same prompt and seed, where there are pairs;
    /// else by whether the intervals lie apart, which finds less.
    pub fn of(difference: Option<&Score>, before: &Score, after: &Score) -> Self {
        let (low, high, has_interval) = match difference {
            Some(difference) => (difference.low, difference.high, difference.has_interval()),
            None => (after.low - before.high, after.high - before.low, before.has_interval() && after.has_interval()),
        };
        match has_interval {
            false => Self::Few,
            true if low > 0.0 => Self::Up,
            true if high < 0.0 => Self::Down,
            true => Self::Unclear,
        }
    }

    /// With a mark, so that it can be told without a colour.
    pub fn words(self) -> &'static str {
        match self {
            Self::Up => "▲ higher",
            Self::Down => "▼ lower",
            Self::Unclear => "= unclear",
            Self::Few => "· too few",
        }
    }
}

/// The score `name` among `scores`.
fn named<'a>(scores: Option<&'a Scores>, name: &str) -> Option<&'a Score> {
    score_list(scores?).into_iter().find(|(other, _)| *other == name).map(|(_, score)| score)
}

/// How the score `name` of `both` changed.
pub fn change(both: &BothScores, name: &str, before: &Score, after: &Score) -> Change {
    Change::of(named(both.difference.as_ref(), name), before, after)
}

/// What the photos of `both` are worth by the score `name`.
pub fn photos(both: &BothScores, name: &str) -> Option<f64> {
    named(both.photos.as_ref(), name).map(|score| score.value)
}

/// What the intervals of `scores` are drawn from, in few words.
pub fn intervals_over(scores: &Scores) -> String {
    let units = scores.masked_clip_i.units.unwrap_or(0);
    match scores.unit {
        Some(_) if !scores.masked_clip_i.has_interval() => "no intervals: too few prompts".into(),
        None => format!("bootstrap 95 % intervals, {}", count(scores.masked_clip_i.n as u64, "picture")),
        Some(unit @ Unit::PromptAndSeed) => format!("95 % intervals over {}", unit.words()),
        Some(unit) => format!("95 % intervals over {units} {}", unit.words()),
    }
}

/// The scores by name: those that may be missing last.
pub fn score_list(scores: &Scores) -> Vec<(&'static str, &Score)> {
    let always = [
        ("masked CLIP-I", &scores.masked_clip_i),
        ("CLIP-I", &scores.clip_i),
        ("CLIP-T", &scores.clip_t),
        ("balance", &scores.balance),
    ];
    let others = [("CLIP-T scene", &scores.clip_t_scene), ("masked DINO", &scores.masked_dino), ("DINO", &scores.dino)];
    always.into_iter().chain(others.into_iter().filter_map(|(name, score)| Some((name, score.as_ref()?)))).collect()
}

/// The scores that both sides have by name, before and after.
pub fn score_rows<'a>(before: &'a Scores, after: &'a Scores) -> Vec<(&'static str, &'a Score, &'a Score)> {
    let after = score_list(after);
    let pair = |(name, before)| {
        let (_, after) = after.iter().find(|(other, _)| *other == name)?;
        Some((name, before, *after))
    };
    score_list(before).into_iter().filter_map(pair).collect()
}

/// What stands for one side in a row about masks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OfMasks<'a> {
    /// A masked score with all masks grown and shrunk.
    Dependence(MaskDependence),
    /// A score without what is doubtful.
    Score(&'a Score),
    /// It is not known.
    Nothing,
}

/// A row beneath the scores of both sides about the masks behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskRow<'a> {
    /// What it is called.
    pub name: String,
    /// Before and after.
    pub sides: [OfMasks<'a>; 2],
    /// What is to be said of it.
    pub remark: String,
}

/// What masks are grown and shrunk by, as in `±5 %`.
pub fn mask_margin() -> String {
    format!("±{} %", 100.0 * MASK_MARGIN)
}

/// What masks do to the masked scores of both sides, the row that matters most first; nothing where nothing is known of it.
pub fn mask_rows<'a>(before: &'a Scores, after: &'a Scores) -> Vec<MaskRow<'a>> {
    let sides = [before, after];
    let dependence = |what: &str, of: fn(&Scores) -> Option<MaskDependence>| {
        let sides = sides.map(|scores| of(scores).map_or(OfMasks::Nothing, OfMasks::Dependence));
        MaskRow { name: format!("{what} {}", mask_margin()), sides, remark: "grown and shrunk".into() }
    };
    let [few, many] = sides.map(|scores| scores.masks.samples_doubtful);
    let certain = |scores: &'a Scores| match &scores.masks.without_doubtful {
        Some(rest) => OfMasks::Score(&rest.masked_clip_i),
        None if scores.masks.samples_doubtful == 0 => OfMasks::Score(&scores.masked_clip_i),
        None => OfMasks::Nothing,
    };
    let rows = [
        (true, dependence("masks", |scores| scores.masks.mask_dependence)),
        (
            few + many > 0,
            MaskRow {
                name: "not doubtful".into(),
                sides: sides.map(certain),
                remark: format!("without {few} and {many}"),
            },
        ),
        (true, dependence("DINO", |scores| scores.masks.dino_mask_dependence)),
    ];
    let known = |row: &MaskRow| row.sides.iter().any(|side| *side != OfMasks::Nothing);
    rows.into_iter().filter(|(is_wanted, row)| *is_wanted && known(row)).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MaskReport;

    #[test]
    fn rows_about_masks_are_there_where_something_is_known() {
        let score = |value: f64| Score { value, low: value - 0.1, high: value + 0.1, n: 10, units: Some(10) };
        let scores = |masks: MaskReport| Scores {
            masked_clip_i: score(0.6),
            clip_i: score(0.5),
            clip_t: score(0.3),
            balance: score(0.4),
            clip_t_scene: None,
            unit: Some(Unit::Prompt),
            masked_dino: None,
            dino: None,
            masks,
        };
        let old = scores(MaskReport::default());
        assert_eq!(mask_rows(&old, &old), []);
        let dependence = MaskDependence { grown: 0.58, shrunk: 0.61 };
        let new = scores(MaskReport { mask_dependence: Some(dependence), ..MaskReport::default() });
        let rows = mask_rows(&old, &new);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.name.as_str(), row.sides), ("masks ±5 %", [OfMasks::Nothing, OfMasks::Dependence(dependence)]));
        let rest = Box::new(scores(MaskReport::default()));
        let doubtful =
            scores(MaskReport { samples_doubtful: 3, without_doubtful: Some(rest), ..MaskReport::default() });
        let all = scores(MaskReport { samples_doubtful: 10, ..MaskReport::default() });
        let rows = mask_rows(&doubtful, &all);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.name.as_str(), row.remark.as_str()), ("not doubtful", "without 3 and 10"));
        assert_eq!(row.sides, [OfMasks::Score(&score(0.6)), OfMasks::Nothing]);
    }

    #[test]
    fn a_change_is_told_by_pairs_where_there_are_any() {
        let score = |low, high| Score { value: f64::midpoint(low, high), low, high, n: 10, units: Some(5) };
        let (low, high) = (score(0.1, 0.3), score(0.25, 0.5));
        assert_eq!(Change::of(None, &low, &high), Change::Unclear, "they overlap");
        assert_eq!(Change::of(Some(&score(0.01, 0.3)), &low, &high), Change::Up, "the pairs tell them apart");
        assert_eq!(Change::of(Some(&score(-0.3, -0.01)), &low, &high), Change::Down);
        assert_eq!(Change::of(Some(&score(-0.1, 0.3)), &low, &score(0.6, 0.7)), Change::Unclear);
        assert_eq!(Change::of(None, &low, &score(0.31, 0.5)), Change::Up);
        assert_eq!(Change::of(None, &high, &score(0.1, 0.2)), Change::Down);
        let few = Score { units: Some(2), ..score(0.1, 0.2) };
        assert_eq!((Change::of(Some(&few), &low, &high), Change::of(None, &few, &high)), (Change::Few, Change::Few));
    }

    #[test]
    fn a_name_is_one_word_of_a_command_line() {
        let names = ["demo", "sp ace", "it's", "ünï", "", "$(x)", "{a,b}", "a!b"];
        let quoted = ["demo", "'sp ace'", "'it'\\''s'", "ünï", "''", "'$(x)'", "'{a,b}'", "'a!b'"];
        assert_eq!(names.map(shell), quoted);
        assert!(quoted.iter().zip(names).all(|(word, name)| shell_words::split(word) == Ok(vec![name.to_owned()])));
        assert_eq!(plain("red\u{1b}[31m\n\u{202e}"), "red [31m  ");
    }

    #[test]
    fn sizes_and_short_durations_have_two_digits_that_matter() {
        assert_eq!([0.031, 0.25, 3.04, 75.0].map(short_duration), ["31 ms", "0.2 s", "3.0 s", "1 min 15 s"]);
        assert_eq!([5 << 20, 3 << 30].map(bytes), ["5 MiB", "3.0 GiB"]);
    }

    #[test]
    fn durations_are_as_exact_as_one_wants_to_read() {
        assert_eq!([7.4, 203.0, 7260.0].map(duration), ["7 s", "3 min 23 s", "2 h 01 min"]);
    }
}
