//! `catbench manual settings`: every setting, from the same rows that the command line, the form and files read.

use serde_json::Value;

use crate::cli::settings::{self as options, said};
use crate::cli::table::{Cell, Column, Format, Table};
use crate::method::MethodSettings;
use crate::protocol::{Declaration, Row, SampleConfig, ScoreConfig, TrainConfig, text_of};

/// How long a line of text is at most.
const WIDTH: usize = 80;

/// What the settings of one kind of job are.
struct Section {
    /// What the job is.
    title: &'static str,
    /// How its settings are written, and where.
    about: &'static str,
    entries: Vec<Entry>,
}

/// One setting.
struct Entry {
    row: &'static Row,
    /// The methods that have it; none of what no method learns by.
    methods: Vec<&'static str>,
    /// What it can be.
    can_be: String,
    /// What it is when nothing is said.
    usual: String,
}

impl Entry {
    /// Its labelled facts.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("can be", self.can_be.clone()), ("usual", self.usual.clone())];
        if self.methods.is_empty() {
            return facts;
        }
        let all = self.methods.len() == MethodSettings::ALL.len();
        let resume = if self.row.may_differ { "may differ" } else { "stays as it was" };
        facts.extend([
            ("methods", if all { "all".into() } else { self.methods.join(", ") }),
            ("on resume", resume.into()),
        ]);
        facts
    }

    /// The words for it.
    fn title(&self) -> String {
        let short = self.row.short.map(|short| format!("; {short} in sweeps")).unwrap_or_default();
        format!("{} (--{}{short})", self.row.name, self.row.option())
    }
}

/// What `row` can be.
fn can_be(row: &Row) -> String {
    row.must_be().replace("must be ", "").replace(" in quotes", "")
}

/// What `row` is in each preset of each of `methods`, told once where it is the same in all.
fn usual(row: &Row, methods: &[&'static Declaration]) -> String {
    let value = |method: &Declaration, preset| match TrainConfig::of(method.name, Some(preset)) {
        Ok(config) => Some(config.text(row.name)).filter(|text| !text.is_empty()),
        Err(_) => None,
    };
    let shown = |value: Option<String>| value.or(row.unset.map(str::to_owned)).unwrap_or_else(|| "nothing".into());
    let of = |method: &&'static Declaration| {
        let each: Vec<(&str, String)> =
            method.presets.iter().map(|preset| (preset.name, shown(value(method, preset.name)))).collect();
        let same = each.iter().all(|(_, text)| *text == each[0].1);
        if same {
            each[0].1.clone()
        } else {
            each.iter().map(|(name, text)| format!("{text} ({name})")).collect::<Vec<_>>().join(", ")
        }
    };
    let each: Vec<String> = methods.iter().map(of).collect();
    if each.windows(2).all(|pair| pair[0] == pair[1]) {
        return each.into_iter().next().unwrap_or_default();
    }
    methods.iter().zip(each).map(|(method, text)| format!("{}: {text}", method.name)).collect::<Vec<_>>().join("; ")
}

/// The settings of trainings by `methods`.
fn trainings(methods: &[&'static Declaration]) -> Section {
    let mut entries: Vec<Entry> = Vec::new();
    for row in methods.iter().flat_map(|method| TrainConfig::rows_of(method)) {
        if entries.iter().any(|known| known.row == row) {
            continue;
        }
        let has = |method: &&&'static Declaration| TrainConfig::rows_of(method).contains(&row);
        let usual = match row.name {
            "method" => MethodSettings::ALL[0].name.to_owned(),
            "preset" => "the first of the method's, below".into(),
            _ => usual(row, &methods.iter().filter(has).copied().collect::<Vec<_>>()),
        };
        let can_be = if row.name == "preset" {
            let names =
                |method: &Declaration| method.presets.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
            let each: Vec<String> =
                methods.iter().map(|method| format!("{}: {}", method.name, names(method))).collect();
            each.join("; ")
        } else {
            can_be(row)
        };
        let methods = MethodSettings::ALL.iter().filter(has).map(|method| method.name).collect();
        entries.push(Entry { row, methods, can_be, usual });
    }
    Section {
        title: "Settings of a training",
        about: "As options of `catbench train`, in [train] of concept.toml and of a protocol, as columns of \
                `catbench sweep --grid`, in the workbench's form, and in run.toml, which records them all.",
        entries,
    }
}

/// The settings of samplings, and those of how their pictures are measured.
fn pictures() -> [Section; 2] {
    let entry = |row: &'static Row, value: Value| {
        let usual = Some(text_of(&value)).filter(|text| !text.is_empty()).or(row.unset.map(str::to_owned));
        Entry { row, methods: Vec::new(), can_be: can_be(row), usual: usual.unwrap_or_else(|| "nothing".into()) }
    };
    let (sample, score) = (SampleConfig::default(), ScoreConfig::default());
    let of_sample = <SampleConfig as options::Table>::rows().into_iter().map(|row| entry(row, sample.get(row.name)));
    let of_score = ScoreConfig::ROWS.iter().map(|row| entry(row, score.value(row.name)));
    [
        Section {
            title: "Settings of a sampling",
            about: "As options of `catbench sample`, `score` and `sweep`, in [sample] of a protocol, as columns of \
                    `catbench sweep --grid`, and in batch.toml and score.toml, which record them all. Those of a picture \
                    may stand behind a prompt in a prompt list.",
            entries: of_sample.collect(),
        },
        Section {
            title: "Settings of how pictures are measured",
            about: "As options of `catbench score` and `sweep`, as columns of `catbench sweep --grid`, and in score.toml.",
            entries: of_score.collect(),
        },
    ]
}

/// The methods and their presets.
fn presets(methods: &[&'static Declaration]) -> Vec<(String, Vec<String>)> {
    let title = |method: &Declaration| format!("{} ({}): {}.", method.name, method.title, method.about);
    methods.iter().map(|method| (title(method), method.presets.iter().map(said).collect())).collect()
}

/// The reference of the settings of `methods`.
pub fn reference(methods: &[&'static Declaration], format: Format) -> String {
    let mut text = String::new();
    for section in [trainings(methods)].iter().chain(&pictures()) {
        text += &match format {
            Format::Markdown => markdown(section),
            _ => plain(section),
        };
    }
    let heading = if format == Format::Markdown { "## Methods and presets" } else { "METHODS AND PRESETS" };
    text += &format!("{heading}\n\n");
    for (method, presets) in presets(methods) {
        text += &wrapped(&method, "");
        for preset in presets {
            text += &wrapped(&format!("- {preset}"), "  ");
        }
        text.push('\n');
    }
    text
}

fn plain(section: &Section) -> String {
    let mut text = format!("{}\n\n{}\n", section.title.to_uppercase(), wrapped(section.about, ""));
    for entry in &section.entries {
        text += &format!("{}\n", entry.title());
        text += &wrapped(&entry.row.meaning(), "    ");
        for (label, fact) in entry.facts() {
            text += &wrapped(&format!("{label}: {fact}"), "    ");
        }
        text.push('\n');
    }
    text
}

fn markdown(section: &Section) -> String {
    let titles = ["setting", "option", "what it means", "can be", "usual", "methods", "on resume"];
    let rows = section.entries.iter().map(|entry| {
        let first = [entry.row.name.to_owned(), format!("--{}", entry.row.option()), entry.row.meaning()];
        let all = first.into_iter().chain(entry.facts().into_iter().map(|(_, fact)| fact));
        all.map(|text| Cell::from(text.as_str())).collect()
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let columns = titles.iter().take(rows[0].len()).map(|title| Column::new(title, title)).collect();
    let table = Table { columns, rows, ..Table::default() };
    format!("## {}\n\n{}\n{}\n", section.title, wrapped(section.about, ""), table.render(Format::Markdown))
}

/// `text` in lines that begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < WIDTH);
        match line {
            Some(line) if line.len() > indent.len() => *line += &format!(" {word}"),
            Some(line) => line.push_str(word),
            None => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_every_method_is_in_the_reference() {
        for format in [Format::Text, Format::Markdown] {
            let all = reference(MethodSettings::ALL, format);
            for method in MethodSettings::ALL {
                let own = reference(&[method], format);
                for row in TrainConfig::rows_of(method).into_iter().chain(SampleConfig::rows()).chain(ScoreConfig::ROWS)
                {
                    if row.name == "seeds" {
                        continue;
                    }
                    let option = format!("--{}", row.option());
                    assert!(all.contains(&option) && own.contains(&option) && all.contains(row.name), "{}", row.name);
                }
                for preset in method.presets {
                    assert!(all.contains(preset.doc.split(' ').next().unwrap_or_default()), "{}", preset.name);
                }
                let others = MethodSettings::ALL.iter().filter(|other| other.name != method.name);
                let foreign =
                    others.flat_map(|other| other.settings).find(|row| own.contains(&format!("--{} ", row.option())));
                assert!(foreign.is_none(), "{}: {foreign:?}", method.name);
            }
        }
    }

    #[test]
    fn lines_are_as_long_as_a_terminal_is_wide() {
        let text = reference(MethodSettings::ALL, Format::Text);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{longest:?}");
        assert!(text.contains("learning_rate (--learning-rate; lr in sweeps)"), "{text}");
    }
}
