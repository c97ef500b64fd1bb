//! Tables of scores as people and programs read them: text, CSV, JSON, Markdown, LaTeX.

use serde_json::{Map, Value, json};

use super::train::one_of;
use crate::client::words::{count, mask_margin};
use crate::protocol::{Backbone, DOUBTFUL_BELOW, MASK_MARGIN, MaskDependence, Score, ScoreSummary, Scores};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// Comma-separated; a score has columns of its own for its interval and its n.
    Csv,
    /// One object.
    Json,
    /// A table of a README.
    Markdown,
    /// A `tabular`.
    Latex,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = [
            ("text", Self::Text),
            ("csv", Self::Csv),
            ("json", Self::Json),
            ("markdown", Self::Markdown),
            ("latex", Self::Latex),
        ];
        one_of(text, &words)
    }
}

/// What stands in one place of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A whole number.
    Count(usize),
    /// Another number; people read three digits of it.
    Number(f64),
    /// A score with its interval.
    Score(Score),
    /// A masked score with all masks grown and shrunk.
    Dependence(MaskDependence),
    /// Nothing was measured, and why where it is known.
    Nothing(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<&Score>> for Cell {
    fn from(score: Option<&Score>) -> Self {
        score.map_or_else(|| Self::Nothing(String::new()), |score| Self::Score(score.clone()))
    }
}

impl From<Option<MaskDependence>> for Cell {
    fn from(dependence: Option<MaskDependence>) -> Self {
        dependence.map_or_else(|| Self::Nothing(String::new()), Self::Dependence)
    }
}

/// A column: its name for programs, and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As in settings and records.
    pub key: String,
    /// Over the column; none where only programs read it, in CSV and JSON.
    pub title: Option<String>,
}

impl Column {
    /// One whose two names are these.
    pub fn new(key: &str, title: &str) -> Self {
        Self { key: key.to_owned(), title: Some(title.to_owned()) }
    }

    /// One that only programs read.
    fn unseen(key: &str) -> Self {
        Self { key: key.to_owned(), title: None }
    }
}

/// A table, and what is to be said of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each of as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
    /// What was measured on what and how.
    pub notes: Vec<String>,
}

/// Which columns of scores a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreColumns {
    /// Those of DINO.
    pub dino: bool,
    /// Those with masks grown and shrunk.
    pub masks: bool,
    /// Those without doubtful masks.
    pub doubtful: bool,
}

impl ScoreColumns {
    /// What is in any of `lines`.
    pub fn of(lines: &[&ScoreSummary]) -> Self {
        let any = |is: fn(&Scores) -> bool| lines.iter().any(|line| is(&line.scores));
        Self {
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
            (true, "balance", "balance".into()),
            (self.dino, "masked_dino", "masked DINO".into()),
            (self.dino, "dino", "DINO".into()),
            (self.masks, "mask_dependence", format!("masks {margin}")),
            (self.masks && self.dino, "dino_mask_dependence", format!("masks {margin}, DINO")),
            (self.doubtful, "samples_doubtful", "doubtful".into()),
            (self.doubtful, "masked_clip_i_without_doubtful", "masked CLIP-I without them".into()),
        ];
        let column = |(_, key, title): &(bool, &str, String)| {
            Column::new(&format!("{key}{suffix}"), &format!("{before}{title}"))
        };
        all.iter().filter(|(is_there, ..)| *is_there).map(column).collect()
    }

    /// The cells of [`Self::columns`].
    pub fn cells(self, scores: &Scores) -> Vec<Cell> {
        let four = [&scores.masked_clip_i, &scores.clip_i, &scores.clip_t, &scores.balance];
        let mut cells: Vec<Cell> = four.into_iter().map(|score| Some(score).into()).collect();
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
pub fn how_columns() -> [Column; 4] {
    ["fill", "crop", "mask_makers", "judge"].map(Column::unseen)
}

/// The cells of [`how_columns`].
pub fn how_cells(line: Option<&ScoreSummary>) -> [Cell; 4] {
    let Some(line) = line else { return [const { Cell::Nothing(String::new()) }; 4] };
    let judge = |backbone: &Backbone| format!("{} {}", backbone.name, backbone.sha256);
    let judges = std::iter::once(&line.backbone).chain(line.dino_judge.as_ref().map(|dino| &dino.backbone));
    let judges: Vec<String> = judges.map(judge).collect();
    let makers = Cell::Text(line.mask_makers.join("; "));
    [line.fill.word().into(), line.crop.word().into(), makers, Cell::Text(judges.join("; "))]
}

/// Fewer prompts or subjects than these make an interval rough.
const ENOUGH: usize = 8;

/// What is to be said where an interval is drawn from few, if it is.
pub fn few(count: usize, of: &str) -> Option<String> {
    (count < ENOUGH).then(|| {
        let of = if count == 1 { of.to_owned() } else { format!("{}s", of.replace(" or ", "s or ")) };
        format!("drawn from {count} {of}: below {ENOUGH} an interval is rough, about from the least to the greatest")
    })
}

/// What is to be said of lines of scores: the judges, the settings, and which masks did nothing.
pub fn notes(lines: &[&ScoreSummary]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut say = |note: String| {
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    for line in lines {
        let n = line.scores.masked_clip_i.n;
        say(format!("95 % bootstrap intervals, n = {}", count(n as u64, "sample")));
        // With one prompt its samples are drawn.
        line.resampled.and_then(|count| few(count, "prompt or sample")).into_iter().for_each(&mut say);
        say(format!(
            "fill {}, crop {}, CLIP {} (sha256 {}), {}",
            line.fill.word(),
            line.crop.word(),
            line.backbone.name,
            line.backbone.sha256,
            line.preprocessing
        ));
        if let Some(dino) = &line.dino_judge {
            let (name, hash) = (&dino.backbone.name, &dino.backbone.sha256);
            say(format!("DINO {name} (sha256 {hash}), {}", dino.preprocessing));
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
        }
        match line.mask_makers.as_slice() {
            [] => {}
            makers => say(format!("masks of samples made by: {}", makers.join(", "))),
        }
    }
    let doubtful = |have: &str| format!("{have} a doubtful mask: its confidence is below {DOUBTFUL_BELOW}");
    let of_all = |count: fn(&ScoreSummary) -> usize| lines.iter().map(|line| count(line)).sum::<usize>();
    for (count, one, many) in [
        (of_all(|line| line.samples_unmasked), "has no mask and counts whole", "have no mask and count whole"),
        (
            of_all(|line| line.samples_empty),
            "has an empty mask and counts as all fill",
            "have an empty mask and count as all fill",
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

impl Table {
    /// The table in `format`, with a line break at its end.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Csv => self.csv(),
            Format::Json => format!("{}\n", self.json()),
            Format::Markdown => self.markdown(),
            Format::Latex => self.latex(),
        }
    }

    /// The titles that people read.
    fn titles(&self) -> Vec<String> {
        self.columns.iter().filter_map(|column| column.title.clone()).collect()
    }

    /// The cells of `row` under them.
    fn seen<'a>(&'a self, row: &'a [Cell]) -> impl Iterator<Item = &'a Cell> {
        self.columns.iter().zip(row).filter(|(column, _)| column.title.is_some()).map(|(_, cell)| cell)
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| self.seen(row).map(words).collect());
        let lines: Vec<Vec<String>> = std::iter::once(self.titles()).chain(rows).collect();
        let width = |i: usize| lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.titles().len()).map(|i| width(i).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &lines {
            let padded: Vec<String> =
                line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            text.push_str(padded.join("  ").trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            text.extend([note, "\n"]);
        }
        text
    }

    /// What a column's name is followed by where it is several ones in CSV.
    fn parts(&self, column: usize) -> &'static [&'static str] {
        let parts = |row: &Vec<Cell>| match row.get(column)? {
            Cell::Score(_) => Some(&["", "_low", "_high", "_n"][..]),
            Cell::Dependence(_) => Some(&["_grown", "_shrunk"][..]),
            Cell::Text(_) | Cell::Count(_) | Cell::Number(_) | Cell::Nothing(_) => None,
        };
        self.rows.iter().find_map(parts).unwrap_or(&[""])
    }

    fn csv(&self) -> String {
        let parts: Vec<_> = (0..self.columns.len()).map(|i| self.parts(i)).collect();
        let names = self.columns.iter().zip(&parts);
        let header =
            names.flat_map(|(column, parts)| parts.iter().map(|part| format!("{}{part}", column.key))).collect();
        let mut lines: Vec<Vec<String>> = vec![header];
        for row in &self.rows {
            let mut line = Vec::new();
            for (cell, parts) in row.iter().zip(&parts) {
                let mut cells = match cell {
                    Cell::Score(Score { value, low, high, n }) => {
                        vec![value.to_string(), low.to_string(), high.to_string(), n.to_string()]
                    }
                    Cell::Dependence(MaskDependence { grown, shrunk }) => vec![grown.to_string(), shrunk.to_string()],
                    Cell::Text(text) => vec![text.clone()],
                    Cell::Count(count) => vec![count.to_string()],
                    Cell::Number(number) => vec![number.to_string()],
                    Cell::Nothing(_) => Vec::new(),
                };
                cells.resize(parts.len(), String::new());
                line.append(&mut cells);
            }
            lines.push(line);
        }
        let quoted = |cell: &String| {
            let plain = !cell.contains(['"', ',', '\n', '\r']);
            if plain { cell.clone() } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
        };
        lines.iter().map(|line| line.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect()
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let value = |cell: &Cell| match cell {
                Cell::Text(text) => json!(text),
                Cell::Count(count) => json!(count),
                Cell::Number(number) => json!(number),
                Cell::Score(score) => json!(score),
                Cell::Dependence(dependence) => json!(dependence),
                Cell::Nothing(_) => Value::Null,
            };
            let fields = self.columns.iter().zip(row).map(|(column, cell)| (column.key.clone(), value(cell)));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        json!({ "rows": self.rows.iter().map(object).collect::<Vec<_>>(), "notes": self.notes })
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let escaped = |text: &str| text.replace('|', "\\|");
        let titles = self.titles();
        let mut text = line(titles.iter().map(|title| escaped(title)).collect());
        text.push_str(&line(vec!["---".into(); titles.len()]));
        for row in &self.rows {
            text.push_str(&line(self.seen(row).map(|cell| escaped(&words(cell))).collect()));
        }
        for note in &self.notes {
            text.extend(["\n", &escaped(note), "\n"]);
        }
        text
    }

    fn latex(&self) -> String {
        let cell = |cell: &Cell| match cell {
            Cell::Score(score) if score.has_interval() => {
                format!("${:.3}$ {{\\scriptsize $[{:.3}, {:.3}]$}}", score.value, score.low, score.high)
            }
            Cell::Dependence(dependence) => format!("${}$", between(*dependence).replace(" .. ", "$ .. $")),
            other => tex(&words(other)),
        };
        let seen = (0..self.columns.len()).filter(|&i| self.columns[i].title.is_some());
        let columns: String = seen.map(|i| if self.parts(i).len() > 1 { 'r' } else { 'l' }).collect();
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let mut text = String::new();
        for note in &self.notes {
            text.extend(["% ", note, "\n"]);
        }
        text.extend(["\\begin{tabular}{", &columns, "}\n\\hline\n"]);
        text.push_str(&line(self.titles().iter().map(|title| tex(title)).collect()));
        text.push_str("\\hline\n");
        self.rows.iter().for_each(|row| text.push_str(&line(self.seen(row).map(cell).collect())));
        text.push_str("\\hline\n\\end{tabular}\n");
        text
    }
}

/// A score with its interval; of one sample there is none.
pub fn in_brackets(score: &Score) -> String {
    if score.has_interval() {
        format!("{:.3} [{:.3}, {:.3}]", score.value, score.low, score.high)
    } else {
        format!("{:.3} (n = {})", score.value, score.n)
    }
}

/// From the smaller to the larger of a masked score with all masks grown and shrunk.
pub fn between(dependence: MaskDependence) -> String {
    let (low, high) = dependence.ends();
    format!("{low:.3} .. {high:.3}")
}

/// A cell as people read it.
fn words(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Count(count) => count.to_string(),
        Cell::Number(number) => format!("{number:.3}"),
        Cell::Score(score) => in_brackets(score),
        Cell::Dependence(dependence) => between(*dependence),
        Cell::Nothing(why) if why.is_empty() => "-".into(),
        Cell::Nothing(why) => format!("- ({why})"),
    }
}

/// Text without meaning to TeX.
fn tex(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '\\' => escaped.push_str("\\textbackslash{}"),
            'Δ' => escaped.push_str("$\\Delta$"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn table() -> Table {
        Table {
            columns: vec![
                Column::new("run", "run"),
                Column::unseen("step"),
                Column::new("masks", "masks"),
                Column::new("clip_t", "Δ CLIP-T"),
            ],
            rows: vec![
                vec![
                    "a_b, \"c\" | 5 %".into(),
                    Cell::Count(20),
                    Cell::Dependence(MaskDependence { grown: 0.75, shrunk: 0.5 }),
                    Cell::Score(Score { value: 0.25, low: 0.2, high: 0.3125, n: 40 }),
                ],
                vec!["plain".into(), Cell::Count(0), Cell::Nothing(String::new()), Cell::Nothing("it failed".into())],
            ],
            notes: vec!["n = 40".into()],
        }
    }

    #[test]
    fn a_table_has_five_forms() {
        let text = [
            "run             masks           Δ CLIP-T",
            "a_b, \"c\" | 5 %  0.500 .. 0.750  0.250 [0.200, 0.312]",
            "plain           -               - (it failed)",
            "n = 40",
        ];
        assert_eq!(table().render(Format::Text), text.join("\n") + "\n");
        let csv = [
            "run,step,masks_grown,masks_shrunk,clip_t,clip_t_low,clip_t_high,clip_t_n",
            "\"a_b, \"\"c\"\" | 5 %\",20,0.75,0.5,0.25,0.2,0.3125,40",
            "plain,0,,,,,,",
        ];
        assert_eq!(table().render(Format::Csv), csv.join("\n") + "\n");
        let json: Value = serde_json::from_str(&table().render(Format::Json)).unwrap();
        assert_eq!((&json["rows"][0]["clip_t"]["high"], &json["rows"][0]["step"]), (&json!(0.3125), &json!(20)));
        assert_eq!((&json["rows"][1]["clip_t"], &json["notes"][0]), (&Value::Null, &json!("n = 40")));
        assert_eq!(json["rows"][0]["masks"], json!({ "grown": 0.75, "shrunk": 0.5 }));
        let row = "| a_b, \"c\" \\| 5 % | 0.500 .. 0.750 | 0.250 [0.200, 0.312] |";
        let markdown = format!("| run | masks | Δ CLIP-T |\n| --- | --- | --- |\n{row}\n");
        assert!(table().render(Format::Markdown).starts_with(&markdown));
        let latex = table().render(Format::Latex);
        let row = "a\\_b, \"c\" | 5 \\% & $0.500$ .. $0.750$ & $0.250$";
        assert!(latex.contains("\\begin{tabular}{lrr}") && latex.contains(row), "{latex}");
        assert!(latex.contains("run & masks & $\\Delta$ CLIP-T \\\\") && latex.starts_with("% n = 40\n"), "{latex}");
    }
}
