//! What tables of scores have in common: their columns, how the scores were measured, what they speak of, and which row is best.

use super::table::{Cell, Column, in_brackets};
use crate::client::words::{count, mask_margin};
use crate::protocol::{Backbone, ClipText, DOUBTFUL_BELOW, MASK_MARGIN, Scores, Unit};
use crate::statistics::{Goal, Ranking, ScoreRecord, rank};
use crate::workspace::ScoreLine;

/// Which columns of scores a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreColumns {
    /// CLIP-T of what prompts say besides the concept.
    pub scene: bool,
    /// Those of DINO.
    pub dino: bool,
    /// Those with masks grown and shrunk.
    pub masks: bool,
    /// Those without doubtful masks.
    pub doubtful: bool,
}

impl ScoreColumns {
    /// What is in any of `lines`.
    pub fn of(lines: &[&ScoreLine]) -> Self {
        let any = |is: fn(&Scores) -> bool| lines.iter().any(|line| is(&line.record.scores));
        Self {
            scene: any(|scores| scores.clip_t_scene.is_some()),
            dino: any(|scores| scores.dino.is_some()),
            masks: any(|scores| scores.masks.mask_dependence.is_some()),
            doubtful: any(|scores| scores.masks.samples_doubtful > 0),
        }
    }

    /// The columns; `suffix` is added to their names for programs, `before` stands before those for people.
    pub fn columns(self, suffix: &str, before: &str) -> Vec<Column> {
        let margin = mask_margin();
        let all = [
            (true, "masked_clip_i", "masked CLIP-I".to_owned()),
            (true, "clip_i", "CLIP-I".into()),
            (true, "clip_t", "CLIP-T".into()),
            (self.scene, "clip_t_scene", "CLIP-T scene".into()),
            (true, "balance", "balance".into()),
            (self.dino, "masked_dino", "masked DINO".into()),
            (self.dino, "dino", "DINO".into()),
            (self.masks, "mask_dependence", format!("masks {margin}")),
            (self.masks && self.dino, "dino_mask_dependence", format!("masks {margin}, DINO")),
            (self.doubtful, "samples_doubtful", "doubtful".into()),
            (self.doubtful, "masked_clip_i_without_doubtful", "masked CLIP-I without them".into()),
        ];
        let column = |(_, key, title): &(bool, &str, String)| {
            // No difference, but the pairs in which either mask is doubtful.
            let pairs = !before.is_empty() && *key == "samples_doubtful";
            let title = if pairs { "pairs doubtful".to_owned() } else { format!("{before}{title}") };
            Column::new(&format!("{key}{suffix}"), &title)
        };
        all.iter().filter(|(is_there, ..)| *is_there).map(column).collect()
    }

    /// The cells of [`Self::columns`].
    pub fn cells(self, scores: &Scores) -> Vec<Cell> {
        let three = [&scores.masked_clip_i, &scores.clip_i, &scores.clip_t];
        let mut cells: Vec<Cell> = three.into_iter().map(|score| Some(score).into()).collect();
        cells.extend(self.scene.then(|| scores.clip_t_scene.as_ref().into()));
        cells.push(Some(&scores.balance).into());
        let masks = &scores.masks;
        if self.dino {
            cells.extend([scores.masked_dino.as_ref().into(), scores.dino.as_ref().into()]);
        }
        if self.masks {
            cells.push(masks.mask_dependence.into());
        }
        if self.masks && self.dino {
            cells.push(masks.dino_mask_dependence.into());
        }
        if self.doubtful {
            let rest = masks.without_doubtful.as_ref().map(|rest| &rest.masked_clip_i);
            // Where nothing is doubtful, that is all.
            let rest = rest.or((masks.samples_doubtful == 0).then_some(&scores.masked_clip_i));
            cells.extend([Cell::Count(masks.samples_doubtful), rest.into()]);
        }
        cells
    }

    /// As many cells, of scores that there are none of.
    pub fn nothing(self) -> Vec<Cell> {
        vec![Cell::Nothing(String::new()); self.columns("", "").len()]
    }
}

/// The columns of how scores were measured, which people read in the notes.
pub fn how_columns() -> [Column; 6] {
    ["fill", "crop", "mask_makers", "judge", "balance_text", "interval_over"].map(Column::unseen)
}

/// The cells of [`how_columns`], of `scores` that were measured as `line` was.
pub fn how_cells(scores: Option<&Scores>, line: Option<&ScoreLine>) -> [Cell; 6] {
    let (Some(scores), Some(line)) = (scores, line) else { return [const { Cell::Nothing(String::new()) }; 6] };
    let record = &line.record;
    let judge = |backbone: &Backbone| format!("{} {}", backbone.name, backbone.sha256);
    let judges = std::iter::once(&record.backbone).chain(record.dino_judge.as_ref().map(|dino| &dino.backbone));
    let judges: Vec<String> = judges.map(judge).collect();
    let over = scores.unit.map_or("bootstrap", Unit::words);
    [
        record.fill.word().into(),
        record.crop.word().into(),
        Cell::Text(record.mask_makers.join("; ")),
        Cell::Text(judges.join("; ")),
        // Where no prompt says anything besides the concept, it is with the class word.
        if scores.clip_t_scene.is_some() { record.clip_text } else { ClipText::ClassWord }.word().into(),
        over.into(),
    ]
}

/// What the intervals of `scores` speak of, and by which rule they were computed.
pub fn intervals(scores: &Scores) -> String {
    let (n, units) = (scores.masked_clip_i.n, scores.masked_clip_i.units.unwrap_or(0));
    let samples = count(n as u64, "sample");
    if let Some(unit) = scores.unit.filter(|_| !scores.masked_clip_i.has_interval()) {
        let of = if unit == Unit::PromptAndSeed { "prompts or seeds" } else { unit.words() };
        return format!("no intervals: there are fewer than 3 {of}; n = {samples}");
    }
    let over = match scores.unit {
        None => return format!("95 % intervals by the bootstrap of an earlier version, n = {samples}"),
        Some(Unit::Image) => format!("over {units} pictures of one prompt (Student's t)"),
        Some(Unit::Prompt) => format!("over {units} prompts, each picture with a seed of its own (Student's t)"),
        Some(Unit::PromptAndSeed) => "over prompts and the seeds that they share (crossed ANOVA, Satterthwaite)".into(),
        Some(unit @ (Unit::Subject | Unit::Training)) => format!("over {units} {} (Student's t)", unit.words()),
    };
    format!("95 % intervals {over}, n = {samples}")
}

/// What the intervals of rows speak of: once where it is the same of all, else with the names of the rows.
pub fn interval_notes<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Scores)>) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, scores) in rows {
        let said = intervals(scores);
        match found.iter_mut().find(|(other, _)| *other == said) {
            Some((_, names)) => names.push(name),
            None => found.push((said, vec![name])),
        }
    }
    let several = found.len() > 1;
    let note =
        |(said, names): (String, Vec<&str>)| if several { format!("{}: {said}", names.join(", ")) } else { said };
    found.into_iter().map(note).collect()
}

/// What a table of `count` single trainings speaks of.
pub fn of_checkpoints(count: usize) -> String {
    let these = match count {
        1 => "this checkpoint".to_owned(),
        2 => "these two checkpoints".into(),
        count => format!("these {count} checkpoints"),
    };
    format!(
        "the numbers speak of {these}, at prompts like these, not of settings: trainings that differ only in their seed \
         differ too; `--train-seeds 3` of sweep and bench, or `score --compare A B C --against D E F`, makes the training the unit"
    )
}

/// What a table of several trainings of each setting speaks of.
pub const OF_SETTINGS: &str = "the numbers of trainings speak of trainings with these settings, at these prompts: the training is the unit, and other \
     prompts may differ more";

/// Whether pictures of `a` and `b` were sampled otherwise, in words.
pub fn sampled_otherwise(a: (&str, &ScoreLine), b: (&str, &ScoreLine)) -> Option<String> {
    let settings = a.1.sampled_otherwise(b.1);
    (!settings.is_empty())
        .then(|| format!("{} and {} were sampled with other settings: {}", a.0, b.0, settings.join(", ")))
}

/// The columns against the best of a table, where there are several rows to pick it from.
pub fn best_columns() -> [Column; 2] {
    Goal::ALL.map(|goal| {
        let key = match goal {
            Goal::MaskedClipI => "masked_clip_i_to_best",
            Goal::Balance => "balance_to_best",
        };
        Column::new(key, &format!("to best {}", goal.word()))
    })
}

/// Which of several rows is best, by either goal.
pub struct Best {
    rankings: [Result<Ranking, String>; 2],
}

impl Best {
    /// Of rows that are the scorings of one or more trainings each.
    pub fn of(rows: &[Vec<&ScoreRecord>]) -> Self {
        Self { rankings: Goal::ALL.map(|goal| rank(rows, goal).map_err(|error| error.to_string())) }
    }

    /// The cells of [`best_columns`] of the row at `at`.
    pub fn cells(&self, at: usize) -> [Cell; 2] {
        self.rankings.each_ref().map(|ranking| match ranking {
            Err(_) => Cell::Nothing(String::new()),
            Ok(ranking) if ranking.best == at => "best".into(),
            Ok(ranking) => ranking.versus[at].clone().map_or(Cell::Nothing(String::new()), Cell::Versus),
        })
    }

    /// Where a best row is not better than the untrained base model; `differences` are the differences of the rows from that model.
    pub fn against_untrained(&self, names: &[String], differences: &[Option<Scores>]) -> Vec<String> {
        let note = |(goal, ranking): (&Goal, &Result<Ranking, String>)| {
            let best = ranking.as_ref().ok()?.best;
            let difference = differences.get(best)?.as_ref()?;
            let score = match goal {
                Goal::MaskedClipI => &difference.masked_clip_i,
                Goal::Balance => &difference.balance,
            };
            let is_better = score.has_interval() && score.low > 0.0;
            let than = if score.has_interval() && score.high < 0.0 { "worse than" } else { "not told from" };
            let (name, goal) = (&names[best], goal.word());
            (!is_better).then(|| format!("{name} is {than} the untrained base model by {goal}: {}", in_brackets(score)))
        };
        Goal::ALL.iter().zip(&self.rankings).filter_map(note).collect()
    }

    /// What is to be said of it; `names` are the names of the rows; each row is a `what`.
    pub fn notes(&self, what: &str, names: &[String]) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for (goal, ranking) in Goal::ALL.iter().zip(&self.rankings) {
            let note = match ranking {
                Err(why) => why.clone(),
                Ok(ranking) => {
                    let (name, value) = (&names[ranking.best], in_brackets(&ranking.value));
                    let ties: Vec<&str> = ranking.ties().map(|at| names[at].as_str()).collect();
                    let better: Vec<&str> = ranking.better().map(|at| names[at].as_str()).collect();
                    let mut others = Vec::new();
                    if !better.is_empty() {
                        others.push(format!("better there, so it was picked by luck: {}", better.join(", ")));
                    }
                    if !ties.is_empty() {
                        others.push(format!("not told from it: {}", ties.join(", ")));
                    }
                    let others = if others.is_empty() { "all others are worse".into() } else { others.join("; ") };
                    let on = "on the pictures that it was not picked on";
                    format!("best {what} by {}: {name}, {value} {on}; {others}", goal.word())
                }
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        if self.rankings.iter().any(Result::is_ok) {
            notes.push(
                "the best is picked on one half of the prompts and seeds and reported on the other, so its value is not that of its row; \
                 ▼ worse than it, ▲ better, = not told from it, which does not mean equal; p corrected for all comparisons (Holm)"
                    .into(),
            );
        }
        notes
    }
}

/// The lines of several results, each once: trainings share what comes without them.
pub fn distinct<'a>(lines: impl Iterator<Item = &'a ScoreLine>) -> Vec<&'a ScoreLine> {
    let mut found: Vec<&ScoreLine> = Vec::new();
    for line in lines {
        if !found.iter().any(|other| (&other.job, other.time, other.step) == (&line.job, line.time, line.step)) {
            found.push(line);
        }
    }
    found
}

/// What is to be said of lines of scores: the judges, the settings, and which masks did nothing.
pub fn notes(lines: &[&ScoreLine]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut say = |note: String| {
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    for ScoreLine { record: line, .. } in lines {
        say(format!(
            "fill {}, crop {}, CLIP {} (sha256 {}), {}",
            line.fill.word(),
            line.crop.word(),
            line.backbone.name,
            line.backbone.sha256,
            line.preprocessing
        ));
        if line.scores.clip_t_scene.is_some() {
            say("CLIP-T scene: the picture against its prompt without the concept, as Textual Inversion's evaluation has it".into());
        }
        if line.photo_scores.is_some() {
            say("photos: each photo against the others, CLIP-T with the prompt that fits it best; about what samples can reach".into());
        }
        if let Some(dino) = &line.dino_judge {
            let (name, hash) = (&dino.backbone.name, &dino.backbone.sha256);
            say(format!("DINO {name} (sha256 {hash}), {}", dino.preprocessing));
        }
        match line.photos.iter().filter(|photo| photo.one_colour).count() {
            0 => {}
            1 => say("1 photo is one colour; take it out, for all scores rest on the photos".into()),
            count => {
                say(format!("{count} photos are one colour each; take them out, for all scores rest on the photos"));
            }
        }
        match line.photos_unmasked {
            0 => {}
            1 => say("1 photo has no mask and counts whole, also in masked scores".into()),
            count => say(format!("{count} photos have no mask and count whole, also in masked scores")),
        }
        match line.photos_doubtful {
            0 => {}
            1 => say("1 photo has a doubtful mask, on which all masked scores rest".into()),
            count => say(format!("{count} photos have a doubtful mask, on which all masked scores rest")),
        }
        if line.scores.masks.mask_dependence.is_some() {
            let by = 100.0 * MASK_MARGIN;
            say(format!(
                "masks {}: masked scores with all masks, of samples and photos, grown and shrunk by {by} % of their box",
                mask_margin()
            ));
            let kept = "the shrunk score is with";
            match line.masks_too_thin {
                0 => {}
                1 => say(format!("1 mask is too thin to be shrunk: {kept} it as it is")),
                count => say(format!("{count} masks are too thin to be shrunk: {kept} them as they are")),
            }
        }
        match line.mask_makers.as_slice() {
            [] => {}
            makers => say(format!("masks of samples made by: {}", makers.join(", "))),
        }
    }
    let with_scene =
        |line: &&&ScoreLine| line.record.clip_text == ClipText::Scene && line.record.scores.clip_t_scene.is_some();
    match lines.iter().filter(with_scene).count() {
        0 => {}
        all if all == lines.len() => say("balance: of masked CLIP-I and CLIP-T scene".into()),
        _ => say("balance: with CLIP-T scene in some rows, with CLIP-T in others; their differences are with that of the first".into()),
    }
    let doubtful = |have: &str| {
        format!("{have} a doubtful mask: its confidence is below {DOUBTFUL_BELOW}, or it marks nothing or everything")
    };
    let of_all = |count: fn(&ScoreRecord) -> usize| lines.iter().map(|line| count(&line.record)).sum::<usize>();
    for (count, one, many) in [
        (of_all(|line| line.samples_unmasked), "has no mask and counts whole", "have no mask and count whole"),
        (
            of_all(|line| line.samples_one_colour),
            "is one colour and its scores are 0",
            "are one colour each and their scores are 0",
        ),
        (
            of_all(|line| line.samples_empty),
            "has an empty mask and its masked scores are 0",
            "have an empty mask and their masked scores are 0",
        ),
        (
            of_all(|line| line.samples_full),
            "has a mask that marks everything and counts whole",
            "have a mask that marks everything and count whole",
        ),
        (of_all(|line| line.scores.masks.samples_doubtful), &doubtful("has"), &doubtful("have")),
    ] {
        match count {
            0 => {}
            1 => say(format!("1 sample {one}")),
            count => say(format!("{count} samples {many}")),
        }
    }
    notes
}
