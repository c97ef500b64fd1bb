//! Tables as people and programs read them: text, CSV, JSON, Markdown, LaTeX.

use serde_json::{Map, Value, json};

use crate::protocol::{MaskDependence, Score, words};
use crate::statistics::Versus;

words! {
    /// How a table is written.
    pub enum Format {
        /// Aligned columns.
        Text = "text",
        /// Comma-separated; a score has columns of its own for its interval and its n.
        Csv = "csv",
        /// One object.
        Json = "json",
        /// A table of a README.
        Markdown = "markdown",
        /// A `tabular`.
        Latex = "latex",
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
    /// Against the best of the table.
    Versus(Versus),
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
    pub fn unseen(key: &str) -> Self {
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
            Cell::Versus(_) => Some(&["", "_low", "_high", "_n", "_p"][..]),
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
                    Cell::Score(score) => of_score(score),
                    Cell::Versus(versus) => [of_score(&versus.difference), vec![versus.p.to_string()]].concat(),
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
                Cell::Score(score) => json_of(score),
                Cell::Versus(versus) => {
                    let mut value = json_of(&versus.difference);
                    (value["p"], value["worse"]) = (json!(versus.p), json!(versus.is_worse()));
                    value["better"] = json!(versus.is_better());
                    value
                }
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

/// A score as CSV has it: value, ends of the interval where there is one, n.
fn of_score(score: &Score) -> Vec<String> {
    let end = |end: f64| if score.has_interval() { end.to_string() } else { String::new() };
    vec![score.value.to_string(), end(score.low), end(score.high), score.n.to_string()]
}

/// A score as JSON has it; its ends are null where there is no interval.
fn json_of(score: &Score) -> Value {
    let end = |end: f64| score.has_interval().then_some(end);
    json!({ "value": score.value, "low": end(score.low), "high": end(score.high), "n": score.n, "units": score.units })
}

/// Against the best one: how far it is from it and with which p-value, with a mark for worse or a tie.
fn against_best(versus: &Versus) -> String {
    let mark = match versus {
        versus if versus.is_worse() => "▼",
        versus if versus.is_better() => "▲",
        _ => "=",
    };
    format!("{mark} {:+.3} (p {:.3})", versus.difference.value, versus.p)
}

/// A score with its interval; of fewer than three units there is none.
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
        Cell::Versus(versus) => against_best(versus),
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
            '▲' => escaped.push_str("$\\uparrow$"),
            '▼' => escaped.push_str("$\\downarrow$"),
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
                    Cell::Score(Score { value: 0.25, low: 0.2, high: 0.3125, n: 40, units: Some(10) }),
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
