//! Options of the command line, made from the tables of settings. A training takes the options of all methods; its help shows only
//! the options of the chosen method.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use clap::{Arg, ArgGroup, ArgMatches, Command, FromArgMatches};

use super::Where;
use crate::method::MethodSettings;
use crate::protocol::{Declaration, Kind, Preset, Row, SampleConfig, ScoreConfig, SettingError, TrainConfig};
use crate::workspace::Concept;

/// A table of settings that are options.
pub trait Table: Clone + Send + Sync + 'static {
    /// The group of all of them.
    const GROUP: &'static str;

    /// Its settings, each name once.
    fn rows() -> Vec<&'static Row>;

    /// The option of `row`.
    fn option(row: &'static Row) -> Arg {
        option(row, &row.meaning())
    }
}

/// What is given of the settings of a table.
#[derive(Debug, Clone)]
pub struct SettingOptions<T> {
    given: Vec<(&'static str, String)>,
    of: PhantomData<T>,
}

/// The presets of all methods, each name once.
pub fn all_presets() -> BTreeSet<&'static str> {
    MethodSettings::ALL.iter().flat_map(|method| method.presets).map(|preset| preset.name).collect()
}

/// Refuse what is no preset of any method.
fn is_preset(text: &str) -> Result<(), String> {
    let presets = all_presets();
    if presets.contains(text) {
        return Ok(());
    }
    Err(format!("must be one of {}", presets.into_iter().collect::<Vec<_>>().join(", ")))
}

fn option(row: &'static Row, help: &str) -> Arg {
    let short = help.split("\n\n").next().unwrap_or_default();
    // Words that the text does not name.
    let words = match row.kind {
        Kind::Word(words) if !words.iter().all(|word| help.contains(word)) => format!(" One of {}.", words.join(", ")),
        _ => String::new(),
    };
    let mut arg = Arg::new(row.name)
        .long(row.option())
        .value_name(row.name.to_uppercase())
        .help(format!("{short}{words}"))
        .long_help(format!("{help}{words}"));
    arg = match row.kind {
        Kind::Truth => arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Number(_) => arg.allow_negative_numbers(true),
        Kind::Part => arg.value_name("FROM,TO"),
        _ => arg,
    };
    if let Some(letter) = row.letter {
        arg = arg.short(letter);
    }
    arg.value_parser(move |text: &str| {
        match row.kind {
            // A preset of another method is refused later, when the method is known.
            _ if row.name == "preset" => is_preset(text)?,
            Kind::Device if text == "any" => {}
            _ => drop(row.parse(text).map_err(|error| error.cause.into_owned())?),
        }
        Ok::<_, String>(text.to_owned())
    })
}

impl<T: Table> clap::Args for SettingOptions<T> {
    fn augment_args(command: Command) -> Command {
        let group = ArgGroup::new(T::GROUP).multiple(true);
        command.group(group).args(T::rows().into_iter().map(|row| T::option(row).group(T::GROUP)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Table> FromArgMatches for SettingOptions<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &'static Row| Some((row.name, matches.get_one::<String>(row.name)?.clone()));
        Ok(Self { given: T::rows().into_iter().filter_map(given).collect(), of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T> SettingOptions<T> {
    fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, text)| text.as_str())
    }

    /// Whether the setting of this name is given.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The device that was asked for.
    pub fn device(&self) -> Option<Where> {
        // It was read before.
        self.text("device").and_then(|text| text.parse().ok())
    }

    /// Have `set` set all that is given.
    fn each(&self, mut set: impl FnMut(&'static str, &str) -> Result<(), SettingError>) -> Result<(), SettingError> {
        self.given.iter().try_for_each(|(name, text)| match self.device().filter(|_| *name == "device") {
            Some(place) => set(name, &place.device().to_string()),
            None => set(name, text),
        })
    }
}

impl Table for SampleConfig {
    const GROUP: &'static str = "sampling";

    fn rows() -> Vec<&'static Row> {
        // `--seeds` are several seeds.
        SampleConfig::rows().filter(|row| row.name != "seeds").collect()
    }
}

impl SettingOptions<SampleConfig> {
    /// Set what is given in `config`.
    ///
    /// # Errors
    /// A setting that cannot be so.
    pub fn apply(&self, config: &mut SampleConfig) -> Result<(), SettingError> {
        let before = config.shared.device;
        self.each(|name, text| config.set_text(name, text))?;
        if !self.has("dtype") {
            config.shared.dtype = before.dtype_on(config.shared.device, config.shared.dtype);
        }
        Ok(())
    }
}

impl Table for ScoreConfig {
    const GROUP: &'static str = "measuring";

    fn rows() -> Vec<&'static Row> {
        ScoreConfig::ROWS.iter().collect()
    }
}

impl SettingOptions<ScoreConfig> {
    /// Set what is given in `config`.
    ///
    /// # Errors
    /// A setting that cannot be so.
    pub fn apply(&self, config: &mut ScoreConfig) -> Result<(), SettingError> {
        self.each(|name, text| config.set_text(name, text))
    }
}

/// The method that the command line names.
pub fn named_method() -> Option<&'static Declaration> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let after = words.windows(2).find(|pair| pair[0] == "--method").map(|pair| pair[1].as_str());
    let named = after.or_else(|| words.iter().find_map(|word| word.strip_prefix("--method=")));
    let find = |name: &str| MethodSettings::ALL.iter().find(|method| method.name == name);
    named.and_then(find).copied()
}

/// The method whose settings help shows: the named one, else the usual one.
fn chosen() -> &'static Declaration {
    named_method().unwrap_or(MethodSettings::ALL[0])
}

/// What `preset` sets, in words.
pub fn said(preset: &Preset) -> String {
    let list = |settings: &[(&str, &str)]| {
        settings.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    let parts = [("the training", preset.train), ("the sampling", preset.sample), ("the scoring", preset.score)];
    let parts = parts.iter().filter(|(_, settings)| !settings.is_empty());
    let parts: Vec<String> = parts.map(|(what, settings)| format!("of {what}: {}", list(settings))).collect();
    let sets = if parts.is_empty() { String::new() } else { format!(". It sets {}", parts.join("; ")) };
    format!("`{}`: {}{sets}.", preset.name, preset.doc)
}

/// What the help of an option says.
fn help(row: &Row, chosen: &Declaration) -> String {
    match row.name {
        "method" => {
            let each = MethodSettings::ALL.iter().map(|method| format!("`{}`: {}.", method.name, method.about));
            let usual = "As [train] of concept.toml has it if none is given. Another one starts from its own preset. --help after it \
                         shows its settings.";
            format!("{} {usual}\n\n{}", row.meaning(), each.collect::<Vec<_>>().join("\n\n"))
        }
        "preset" => {
            let rule = "It leaves out [train] of concept.toml, which trainings start from if no preset is given. Options that are given \
                        go before all of it. What it sets of sampling and scoring goes before concept.toml.";
            let each: Vec<String> = chosen.presets.iter().map(said).collect();
            format!("{} {rule}\n\n{}", row.meaning(), each.join("\n\n"))
        }
        _ => row.meaning(),
    }
}

impl Table for TrainConfig {
    const GROUP: &'static str = "settings";

    /// Rows of the chosen method come first, then rows of other methods.
    fn rows() -> Vec<&'static Row> {
        let mut rows = Self::rows_of(chosen());
        for row in MethodSettings::ALL.iter().flat_map(|method| method.settings) {
            if !rows.iter().any(|known| known.name == row.name) {
                rows.push(row);
            }
        }
        rows
    }

    fn option(row: &'static Row) -> Arg {
        let chosen = chosen();
        option(row, &help(row, chosen)).hide(!Self::rows_of(chosen).iter().any(|shown| shown.name == row.name))
    }
}

impl SettingOptions<TrainConfig> {
    /// Whether a training of `concept` starts from `[train]` of its file.
    pub fn starts_from(&self, concept: &Concept) -> bool {
        let method = concept.file.train.config().declaration().name;
        !self.has("preset") && self.text("method").is_none_or(|given| given == method)
    }

    /// What is given, over what a training of `concept` starts from.
    ///
    /// # Errors
    /// A setting that the method does not have, or that cannot be so.
    pub fn config(&self, concept: &Concept) -> Result<TrainConfig, SettingError> {
        let own = concept.train_config();
        let mut config = if self.starts_from(concept) {
            own
        } else {
            TrainConfig::of(self.text("method").unwrap_or(own.declaration().name), self.text("preset"))?
        };
        let said = self.starts_from(concept) && concept.file.train.said().contains_key("dtype");
        self.each(
            |name, text| if ["method", "preset"].contains(&name) { Ok(()) } else { config.set_text(name, text) },
        )?;
        if !said && !self.has("dtype") {
            config.dtype = config.device.usual_dtype();
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;
    use crate::cli::sweep;
    use crate::protocol::PictureConfig;
    use crate::workspace::{ListNames, PromptList, Values};

    #[test]
    fn help_says_what_presets_set() {
        let command = crate::cli::Cli::command();
        let train = command.find_subcommand("train").unwrap();
        let preset = train.get_arguments().find(|argument| argument.get_id() == "preset").unwrap();
        let help = preset.get_long_help().unwrap().to_string();
        for preset in MethodSettings::ALL[0].presets {
            let all = preset.train.iter().chain(preset.sample).chain(preset.score);
            assert!(all.clone().all(|(name, value)| help.contains(&format!("{name} {value}"))), "{help}");
        }
    }

    #[test]
    fn every_setting_is_an_option_of_its_commands_that_says_what_it_means() {
        let command = crate::cli::Cli::command();
        let is_option = |verb: &str, rows: Vec<&'static Row>| {
            let verb = command.find_subcommand(verb).unwrap();
            for row in rows {
                let option = verb.get_arguments().find(|argument| argument.get_id() == row.name).unwrap();
                assert!(option.get_long().unwrap().ends_with(&row.option()), "{}", row.name);
                assert!(option.get_help().is_some_and(|help| !help.to_string().is_empty()), "{}", row.name);
            }
        };
        MethodSettings::ALL.iter().for_each(|method| is_option("train", TrainConfig::rows_of(method)));
        for verb in ["score", "sweep"] {
            is_option(verb, <SampleConfig as Table>::rows());
            is_option(verb, <ScoreConfig as Table>::rows());
        }
        is_option("sample", <SampleConfig as Table>::rows());
    }

    /// A text that differs from the usual values of `row`.
    fn other(row: &Row) -> &'static str {
        match row.kind {
            Kind::Whole(..) => "7",
            Kind::Number(_) => "0.5",
            Kind::Truth => "true",
            Kind::Word(words) => words.last().unwrap(),
            Kind::Device => "cuda:1",
            Kind::Part => "0.2,0.8",
            Kind::Text | Kind::Ascending => "dark",
        }
    }

    #[test]
    fn a_setting_is_the_same_from_options_sweeps_files_and_prompt_lists() {
        let usual = SampleConfig::default();
        for row in <SampleConfig as Table>::rows() {
            let text = other(row);
            let mut typed = usual.clone();
            let command = <SettingOptions<SampleConfig> as clap::Args>::augment_args(Command::new("x"));
            let matches = command.try_get_matches_from(["x".into(), format!("--{}={text}", row.option())]).unwrap();
            SettingOptions::<SampleConfig>::from_arg_matches(&matches).unwrap().apply(&mut typed).unwrap();
            assert_ne!(typed, usual, "{}", row.name);

            let swept = (TrainConfig::default(), ScoreConfig::default());
            let swept = sweep::with(&swept, &format!("sample.{}", row.word()), &text.replace(',', "+")).unwrap();
            assert_eq!(swept.1.sample, typed, "{}", row.name);

            let mut table = toml::Table::try_from(&usual).unwrap();
            table.insert(row.name.into(), toml::Value::try_from(row.parse(text).unwrap()).unwrap());
            assert_eq!(table.try_into::<SampleConfig>().unwrap(), typed, "{}", row.name);

            if PictureConfig::ROWS.contains(row) {
                let value = if row.kind == Kind::Truth { String::new() } else { format!("={text}") };
                let line = format!("a cup --{}{value}", row.word());
                let list = PromptList::of_prompts(&[line], &ListNames::default()).unwrap();
                // What does not go together is refused later.
                let base = if row.name == "karras" { sampled_by(&usual, "euler") } else { usual.clone() };
                let picture = list.pictures(&Values::default(), &base).unwrap().remove(0);
                assert_eq!(picture.value(row.name), typed.get(row.name), "{}", row.name);
            }
        }
    }

    fn sampled_by(config: &SampleConfig, sampler: &str) -> SampleConfig {
        let mut config = config.clone();
        config.set_text("sampler", sampler).unwrap();
        config
    }
}
