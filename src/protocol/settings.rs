//! Settings as data. A setting is one row of a table: its name, what it means, what it can be, what it is when nothing is said, and
//! whether it may differ when a job goes on. Command line, form, sweep, prompt lists, files, records and help all read the rows, so
//! adding a setting is adding a row and the code that uses it.

use std::borrow::Cow;

use serde_json::Value;

/// What a setting can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number from `.0` to `.1`.
    Whole(u64, u64),
    /// A number in this range.
    Number(Range),
    /// `true` or `false`.
    Truth,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text.
    Text,
    /// Whole numbers, each once, in ascending order.
    Ascending,
    /// What computes.
    Device,
    /// Two numbers in 0..=1, the lower first: a part of something.
    Part,
}

/// Which numbers a setting can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Any.
    Finite,
    /// 0 is none of them.
    AboveZero,
    /// 0 too.
    ZeroOrMore,
    /// 0 and 1 too.
    ZeroToOne,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// As in files; an option of the command line has dashes in place of underscores.
    pub name: &'static str,
    /// What it means, as its documentation has it.
    pub doc: &'static str,
    /// What it can be.
    pub kind: Kind,
    /// What people call it besides, in sweeps, prompt lists and on sheets.
    pub short: Option<&'static str>,
    /// Its option of the command line, where that is another word.
    pub long: Option<&'static str>,
    /// That option's letter, where it has one.
    pub letter: Option<char>,
    /// What web UIs call it in their pictures, where they have it.
    pub web: Option<&'static str>,
    /// What it means that nothing is said; only of a setting that may be unset.
    pub unset: Option<&'static str>,
    /// Whether a job may go on with another value: what a step computes, or what a picture is, does not depend on it.
    pub may_differ: bool,
    /// Whether it makes a difference only where something learned acts.
    pub of_learned: bool,
    /// Whether files leave it out where it is as usual, as versions did that did not have it.
    pub left_out: bool,
}

/// A named set of settings of a method.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// Its word.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// What it sets of the training, as typed.
    pub train: &'static [(&'static str, &'static str)],
    /// What it sets of the sampling of what was trained with it, before a concept's own settings.
    pub sample: &'static [(&'static str, &'static str)],
    /// What it sets of its scoring.
    pub score: &'static [(&'static str, &'static str)],
}

/// A kind of file of other programs that what a method has learned can be brought in from, or written as.
#[derive(Debug, PartialEq)]
pub struct Format {
    /// Its word: `export-` or `import-` before it is the command.
    pub name: &'static str,
    /// What importing it does; none where it cannot be imported.
    pub import: Option<&'static str>,
    /// What exporting to it does.
    pub export: &'static str,
    /// The name of the file where a folder is given; `{concept}` is the concept's.
    pub file: &'static str,
}

/// What a method says of itself.
#[derive(Debug, PartialEq)]
pub struct Declaration {
    /// Its word in files and on command lines.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// What it learns, and the paper.
    pub about: &'static str,
    /// The settings that only it has.
    pub settings: &'static [Row],
    /// The first is the usual one.
    pub presets: &'static [Preset],
    /// Files of other programs.
    pub formats: &'static [Format],
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value}: {cause}")]
pub struct SettingError {
    /// As in the config.
    pub setting: Cow<'static, str>,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub cause: Cow<'static, str>,
}

impl SettingError {
    /// `setting` cannot be `value`, because of `cause`.
    pub fn new(
        setting: impl Into<Cow<'static, str>>,
        value: impl std::fmt::Display,
        cause: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { setting: setting.into(), value: value.to_string(), cause: cause.into() }
    }
}

impl Declaration {
    /// The preset of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn preset(&self, name: &str) -> Result<&'static Preset, SettingError> {
        let presets: &'static [Preset] = self.presets;
        let missing = || {
            let known = presets.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
            SettingError::new("preset", name, format!("{} has the presets {known}", self.title))
        };
        presets.iter().find(|preset| preset.name == name).ok_or_else(missing)
    }
}

impl Row {
    /// A row with nothing out of the usual.
    pub const fn new(name: &'static str, doc: &'static str, kind: Kind) -> Self {
        let (short, long, letter, web, unset) = (None, None, None, None, None);
        Self { name, doc, kind, short, long, letter, web, unset, may_differ: false, of_learned: false, left_out: false }
    }

    /// What it means, in running text; paragraphs have an empty line between them.
    pub fn meaning(&self) -> String {
        let paragraphs = self.doc.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        paragraphs.collect::<Vec<_>>().join("\n\n")
    }

    /// Its option on command lines, without the dashes in front.
    pub fn option(&self) -> String {
        self.long.map_or_else(|| self.name.replace('_', "-"), str::to_owned)
    }

    /// The shortest word that people have for it.
    pub fn word(&self) -> &'static str {
        self.short.unwrap_or(self.name)
    }

    /// Whether people mean it by `name`.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.short == Some(name)
    }

    /// The words it can be, where these are few.
    pub fn words(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Word(words) => words,
            Kind::Truth => &["false", "true"],
            _ => &[],
        }
    }

    /// What it must be, in words.
    pub fn must_be(&self) -> Cow<'static, str> {
        match self.kind {
            Kind::Whole(least, u64::MAX) => format!("must be a whole number, {least} or more").into(),
            Kind::Whole(least, most) => format!("must be a whole number in {least}..={most}").into(),
            Kind::Number(Range::Finite) => "must be a finite number".into(),
            Kind::Number(Range::AboveZero) => "must be a number above 0".into(),
            Kind::Number(Range::ZeroOrMore) => "must be a number, 0 or more".into(),
            Kind::Number(Range::ZeroToOne) => "must be a number in 0..=1".into(),
            Kind::Truth => "must be true or false".into(),
            Kind::Word(words) => format!("must be one of {}", words.join(", ")).into(),
            Kind::Text => "must be text in quotes".into(),
            Kind::Ascending => "must be one or more numbers, each once, in ascending order, as in [9, 10, 11]".into(),
            Kind::Device => "must be cpu, cuda:0 (or another number) or metal; after --device also any".into(),
            Kind::Part => "must be two fractions in 0..=1, the lower first".into(),
        }
    }

    /// Its value from what was typed. Nothing, where it may be unset, is no value.
    ///
    /// # Errors
    /// What it must be, where it is not that.
    pub fn parse(&self, text: &str) -> Result<Value, SettingError> {
        let wrong = || SettingError::new(self.name, text, self.must_be());
        let text = if self.kind == Kind::Text { text } else { text.trim() };
        if text.is_empty() && self.unset.is_some() {
            return Ok(Value::Null);
        }
        let numbers = |between: &[char]| {
            let parts = text.split(between).map(|part| part.trim().parse::<serde_json::Number>().map(Value::Number));
            parts.collect::<Result<Vec<_>, _>>().map(Value::Array).map_err(|_| wrong())
        };
        let value = match self.kind {
            Kind::Whole(..) => Value::from(text.parse::<u64>().map_err(|_| wrong())?),
            Kind::Number(_) => Value::from(text.parse::<f64>().map_err(|_| wrong())?),
            Kind::Truth => Value::from(text.parse::<bool>().map_err(|_| wrong())?),
            Kind::Word(_) => Value::from(text.replace('-', "_")),
            Kind::Text => Value::from(text),
            Kind::Device => Value::from(text.parse::<super::DeviceName>().map_err(|_| wrong())?.to_string()),
            Kind::Ascending | Kind::Part => numbers(&[',', '+'])?,
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Refuse a value that it cannot be.
    ///
    /// # Errors
    /// What it must be.
    pub fn check(&self, value: &Value) -> Result<(), SettingError> {
        let number = |range: Range| {
            value.as_f64().is_some_and(|x| match range {
                Range::Finite => x.is_finite(),
                Range::AboveZero => x.is_finite() && x > 0.0,
                Range::ZeroOrMore => x.is_finite() && x >= 0.0,
                Range::ZeroToOne => (0.0..=1.0).contains(&x),
            })
        };
        let fits = match self.kind {
            _ if value.is_null() => self.unset.is_some(),
            Kind::Whole(least, most) => value.as_u64().is_some_and(|n| (least..=most).contains(&n)),
            Kind::Number(range) => number(range),
            Kind::Truth => value.is_boolean(),
            Kind::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Kind::Text | Kind::Device => value.is_string(),
            Kind::Ascending => value.as_array().is_some_and(|all| {
                let numbers: Vec<Option<u64>> = all.iter().map(Value::as_u64).collect();
                !all.is_empty()
                    && numbers.iter().all(Option::is_some)
                    && numbers.windows(2).all(|pair| pair[0] < pair[1])
            }),
            Kind::Part => value.as_array().is_some_and(|all| {
                let ends: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
                matches!(ends[..], [from, to] if all.len() == 2 && 0.0 <= from && from < to && to <= 1.0)
            }),
        };
        if fits { Ok(()) } else { Err(SettingError::new(self.name, text_of(value), self.must_be())) }
    }
}

/// Have `put` set what `row` names to `value`.
///
/// # Errors
/// The row refuses it.
pub fn set(
    row: &Row,
    value: &Value,
    put: impl FnOnce(&str, Value) -> Result<bool, serde_json::Error>,
) -> Result<(), SettingError> {
    row.check(value)?;
    let odd = |error: serde_json::Error| SettingError::new(row.name, text_of(value), error.to_string());
    put(row.name, value.clone()).map(drop).map_err(odd)
}

/// `config` with all entries of a file's table, each of which `put` takes.
///
/// # Errors
/// One that `put` does not know, or of another kind.
pub fn read<T, E: serde::de::Error>(
    mut config: T,
    table: serde_json::Map<String, Value>,
    put: impl Fn(&mut T, &str, Value) -> Result<bool, serde_json::Error>,
) -> Result<T, E> {
    for (name, value) in table {
        match put(&mut config, &name, value) {
            Ok(true) => {}
            Ok(false) => return Err(E::custom(format!("unknown field `{name}`"))),
            Err(error) => return Err(E::custom(format!("{name}: {error}"))),
        }
    }
    Ok(config)
}

/// `value` as it is typed; nothing where it is unset.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        Value::Number(number) => match number.as_f64() {
            // As people write it: 0.02, 1, 1e-5.
            Some(x) if number.is_f64() => {
                format!("{x:?}").strip_suffix(".0").map_or_else(|| format!("{x:?}"), str::to_owned)
            }
            _ => number.to_string(),
        },
        value => value.to_string(),
    }
}

/// The value of a setting's field; null where it is unset. A field with NaN or an infinity, which JSON has no words for, is the text
/// that TOML has for it: no row takes that, so such a setting is refused and never passes as one that is unset.
pub fn value_of<T: serde::Serialize>(field: &T) -> Value {
    // By its text: a number of 32 bits is then the number that people wrote.
    let text = crate::json::to_string(field).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| {
        Value::from(toml::Value::try_from(field).map_or_else(|_| "nan".into(), |value| value.to_string()))
    })
}

/// Declare a struct of settings, and the table of them: for each its documentation, name, type, usual value, kind and what else its
/// [`Row`] says. Fields after `also` are no settings, but entries of the same files; those after `beside` are neither.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $usual:expr, $kind:expr $(, $key:ident: $value:expr)*; )*
            $( also $(
                $(#[doc = $also_doc:literal])+ $also:ident: $also_type:ty = $also_usual:expr $(, $also_key:ident: $also_value:expr)*;
            )+ )?
            $( beside $( $(#[doc = $beside_doc:literal])+ $beside:ident: $beside_type:ty = $beside_usual:expr; )+ )?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $( $( $(#[doc = $also_doc])+ pub $also: $also_type, )+ )?
            $( $( $(#[doc = $beside_doc])+ pub $beside: $beside_type, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $usual, )* $( $( $also: $also_usual, )+ )? $( $( $beside: $beside_usual, )+ )? }
            }
        }

        impl $name {
            /// The table of its settings.
            pub const ROWS: &'static [$crate::protocol::Row] = &[ $( $crate::protocol::Row {
                $( $key: $value, )*
                ..$crate::protocol::Row::new(stringify!($field), concat!($($doc, "\n"),+), $kind)
            }, )* ];

            /// Refuse what the rows refuse.
            ///
            /// # Errors
            /// The first such setting.
            pub fn check_rows(&self) -> Result<(), $crate::protocol::SettingError> {
                // Any text is text, and it may be long.
                let rows = Self::ROWS.iter().filter(|row| row.kind != $crate::protocol::Kind::Text);
                rows.map(|row| row.check(&self.value(row.name))).collect()
            }

            /// The value of the setting `name`; null where it is unset or there is none of that name.
            pub fn value(&self, name: &str) -> serde_json::Value {
                match name {
                    $( stringify!($field) => $crate::protocol::settings::value_of(&self.$field), )*
                    _ => serde_json::Value::Null,
                }
            }

            /// Set the setting `name` to a value that its row has not refused. Whether there is one of that name.
            ///
            /// # Errors
            /// The value is of another kind.
            pub fn put(&mut self, name: &str, value: serde_json::Value) -> Result<bool, serde_json::Error> {
                match name {
                    $( stringify!($field) => self.$field = serde::Deserialize::deserialize(value)?, )*
                    $( $( stringify!($also) => self.$also = serde::Deserialize::deserialize(value)?, )+ )?
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Write the setting `name` as an entry of `map`, unless its row says to leave it out.
            ///
            /// # Errors
            /// The map cannot be written.
            pub fn entry<M: serde::ser::SerializeMap>(&self, name: &str, map: &mut M) -> Result<(), M::Error> {
                match name {
                    $( stringify!($field) => {
                        let row = $crate::protocol::Row { $( $key: $value, )* ..$crate::protocol::Row::new("", "", $kind) };
                        let usual: $type = $usual;
                        if !row.left_out || $crate::protocol::settings::value_of(&self.$field) != $crate::protocol::settings::value_of(&usual) {
                            map.serialize_entry(name, &self.$field)?;
                        }
                    } )*
                    $( $( stringify!($also) => {
                        let any = $crate::protocol::Kind::Text;
                        let row = $crate::protocol::Row { $( $also_key: $also_value, )* ..$crate::protocol::Row::new("", "", any) };
                        let usual: $also_type = $also_usual;
                        if !(row.left_out && self.$also == usual) {
                            map.serialize_entry(name, &self.$also)?;
                        }
                    } )+ )?
                    _ => {}
                }
                Ok(())
            }
        }
    };
}
pub(crate) use settings;

/// Declare an enum each of whose variants is a word, in files and wherever people type it.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $( $(#[$about:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[$about])* #[serde(rename = $word)] $variant, )+ }

        impl $name {
            /// All of them.
            pub const ALL: [Self; Self::WORDS.len()] = [ $( Self::$variant, )+ ];
            /// Their words.
            pub const WORDS: &'static [&'static str] = &[ $( $word, )+ ];

            /// As in files.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|one| one.word() == text);
                found.ok_or_else(|| format!("one of {}", Self::WORDS.join(", ")))
            }
        }
    };
}
pub(crate) use words;
