//! `catbench manual settings`: every setting, from the same rows that the command line, the form and files read.

use crate::cli::settings::{Table as Options, said};
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
    /// What is known of it, by name.
    facts: Vec<(&'static str, String)>,
}

impl Entry {
    fn new(row: &'static Row, usual: String) -> Self {
        let can_be = row.must_be().replace("must be ", "").replace(" in quotes", "");
        let usual = if usual.is_empty() { row.unset.unwrap_or("nothing").to_owned() } else { usual };
        Self { row, facts: vec![("can be", can_be), ("usual", usual)] }
    }

    /// The words for it.
    fn title(&self) -> String {
        let short = self.row.short.map(|short| format!("; {short} in sweeps")).unwrap_or_default();
        format!("{} (--{}{short})", self.row.name, self.row.option())
    }
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
        let having: Vec<&str> = MethodSettings::ALL.iter().filter(has).map(|method| method.name).collect();
        let all = having.len() == MethodSettings::ALL.len();
        let mut entry = Entry::new(row, usual);
        if row.name == "preset" {
            entry.facts[0].1 = methods.iter().map(|method| presets_of(method)).collect::<Vec<_>>().join("; ");
        }
        entry.facts.push(("methods", if all { "all".into() } else { having.join(", ") }));
        entry.facts.push(("on resume", if row.may_differ { "may differ" } else { "stays as it was" }.into()));
        entries.push(entry);
    }
    Section {
        title: "Settings of a training",
        about: "As options of `catbench train`, in [train] of concept.toml and of a protocol, as columns of \
                `catbench sweep --grid`, in the workbench's form, and in run.toml, where a setting that is not named has its usual value.",
        entries,
    }
}

/// The settings of samplings.
fn samplings() -> Section {
    let usual = |row: &Row| text_of(&SampleConfig::default().get(row.name));
    Section {
        title: "Settings of a sampling",
        about: "As options of `catbench sample` and `catbench score`, behind a prompt of a list, in [sample] of a protocol, as columns \
                of `catbench sweep --grid`, and in batch.toml. Presets set some: see below.",
        entries: <SampleConfig as Options>::rows().into_iter().map(|row| Entry::new(row, usual(row))).collect(),
    }
}

/// The settings of scorings, besides the settings of their samplings.
fn scorings() -> Section {
    let usual = |row: &Row| text_of(&ScoreConfig::default().value(row.name));
    Section {
        title: "Settings of a scoring",
        about: "As options of `catbench score` and `catbench sweep`, and in score.toml; besides the settings of a sampling.",
        entries: <ScoreConfig as Options>::rows().into_iter().map(|row| Entry::new(row, usual(row))).collect(),
    }
}

/// The presets of `method`, by name.
fn presets_of(method: &Declaration) -> String {
    let names: Vec<&str> = method.presets.iter().map(|preset| preset.name).collect();
    format!("{}: {}", method.name, names.join(", "))
}

/// The methods and their presets.
fn presets(methods: &[&'static Declaration]) -> Vec<(String, Vec<String>)> {
    let title = |method: &Declaration| format!("{} ({}): {}.", method.name, method.title, method.about);
    methods.iter().map(|method| (title(method), method.presets.iter().map(said).collect())).collect()
}

/// The reference of the settings of `methods`.
pub fn reference(methods: &[&'static Declaration], format: Format) -> String {
    let sections = [trainings(methods), samplings(), scorings()];
    let mut text = String::new();
    for section in &sections {
        text += &match format {
            Format::Markdown => markdown(section),
            _ => plain(section),
        };
    }
    let heading = if format == Format::Markdown { "## Methods and presets" } else { "METHODS AND PRESETS" };
    text.extend([heading, "\n\n"]);
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
        text.extend([entry.title().as_str(), "\n"]);
        text += &wrapped(&entry.row.meaning(), "    ");
        for (label, fact) in &entry.facts {
            text += &wrapped(&format!("{label}: {fact}"), "    ");
        }
        text.push('\n');
    }
    text
}

fn markdown(section: &Section) -> String {
    let labels = section.entries.iter().take(1).flat_map(|entry| &entry.facts).map(|(label, _)| *label);
    let titles = ["setting", "option", "what it means"].into_iter().chain(labels);
    let rows = section.entries.iter().map(|entry| {
        let first = [entry.row.name.to_owned(), format!("--{}", entry.row.option()), entry.row.meaning()];
        let all = first.iter().chain(entry.facts.iter().map(|(_, fact)| fact));
        all.map(|text| Cell::from(text.as_str())).collect()
    });
    let columns = titles.map(|title| Column::new(title, title)).collect();
    let table = Table { columns, rows: rows.collect(), ..Table::default() };
    format!("## {}\n\n{}\n{}\n", section.title, wrapped(section.about, ""), table.render(Format::Markdown))
}

/// `text` in lines that begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < WIDTH);
        match line {
            Some(line) if line.len() > indent.len() => line.extend([" ", word]),
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
                for row in TrainConfig::rows_of(method) {
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
