//! What stands behind a prompt: `--seed 7 --negative "..."`.

use serde_json::Value;

use super::error::{Wrong, shown};
use super::template::{Char, Names, Template};
use super::{MAX_PICTURES, MAX_TEXT};
use crate::protocol::{Kind, PictureConfig, Row, SampleConfig};

/// The setting that says how many images of each prompt there are.
const IMAGES: &str = "images_per_prompt";

/// The settings that a line may say.
fn rows() -> impl Iterator<Item = &'static Row> {
    PictureConfig::ROWS.iter().chain(SampleConfig::row(IMAGES))
}

/// The setting of the option `name`: `--` and a word for it, or `-` and its letter.
fn row_of(name: &str) -> Option<&'static Row> {
    let is = |row: &&Row| match name.strip_prefix("--") {
        Some(word) => row.option() == word || row.word() == word,
        None => row.letter.is_some_and(|letter| name.strip_prefix('-') == Some(&letter.to_string())),
    };
    rows().find(is)
}

/// The options there are, for errors.
fn known() -> String {
    let option = |row: &Row| row.letter.map_or_else(|| format!("--{}", row.word()), |letter| format!("-{letter}"));
    let all: Vec<String> = rows().map(option).collect();
    all.split_last().map_or_else(String::new, |(last, rest)| format!("{} and {last}", rest.join(", ")))
}

/// Settings of one line: those it says, each with its values, each of which gives a picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Options(Vec<(&'static Row, Vec<Value>)>);

/// Where in a line its options begin: at the first word outside of braces that is `-n`, also `-n4`, or `--` and a letter.
///
/// # Errors
/// An option with a long dash, which word processors make of two.
pub(super) fn begin(line: &[Char]) -> Result<usize, Wrong> {
    let (mut depth, mut before, mut i) = (0usize, ' ', 0);
    while let Some(&(c, column)) = line.get(i) {
        if before.is_whitespace() && depth == 0 {
            let word: String = line[i..].iter().map(|(c, _)| *c).take_while(|c| !c.is_whitespace()).take(20).collect();
            let letters = word.strip_prefix("--").is_some_and(|rest| rest.starts_with(char::is_alphabetic));
            let number = word.strip_prefix("-n").is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('=') || rest.bytes().all(|byte| byte.is_ascii_digit())
            });
            if letters || number {
                return Ok(i);
            }
            let dashed = word.trim_start_matches(['—', '–', '―']);
            let name = dashed.split('=').next().unwrap_or_default();
            if dashed.len() < word.len() && row_of(&format!("--{name}")).is_some() {
                let problem = format!("{:?} with a long dash", shown(word.chars()));
                return Err(Wrong::new(column, problem, format!("write --{name}")));
            }
        }
        match c {
            '\\' => i += 1,
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
        i += 1;
    }
    Ok(line.len())
}

impl Options {
    pub fn parse(text: &[Char], names: &dyn Names) -> Result<Self, Wrong> {
        let mut options = Self::default();
        let mut words = Words { text, at: 0 };
        while let Some(word) = words.next_word()? {
            let column = word.column;
            let name: String = word.text.iter().map(|(c, _)| *c).collect();
            let (name, value) = match name.split_once('=') {
                Some((name, _)) => {
                    let length = name.chars().count();
                    (
                        name.to_owned(),
                        Some(Word { text: word.text[length + 1..].to_vec(), column: column + length + 1 }),
                    )
                }
                None => match name.strip_prefix("-n").filter(|rest| !rest.is_empty()) {
                    Some(_) => ("-n".into(), Some(Word { text: word.text[2..].to_vec(), column: column + 2 })),
                    None => (name, None),
                },
            };
            let Some(row) = row_of(&name) else {
                let problem = format!("{:?} is no option of a line", shown(name.chars()));
                return Err(Wrong::new(column, problem, format!("there are {}", known())));
            };
            if !options.values(row.name).is_empty() {
                return Err(Wrong::new(column, format!("{name} for the second time"), "say it once"));
            }
            let values = match (row.kind, value) {
                (Kind::Truth, None) => vec![true.into()],
                (Kind::Truth, Some(_)) => {
                    return Err(Wrong::new(column, format!("{name} with a value"), format!("say {name} alone")));
                }
                (_, Some(value)) => values(row, &name, &value, names)?,
                (_, None) => {
                    let missing = || Wrong::new(column, format!("{name} without a value"), "write one behind it");
                    values(row, &name, &words.next_word()?.ok_or_else(missing)?, names)?
                }
            };
            options.0.push((row, values));
        }
        Ok(options)
    }

    /// The values of the setting `name`; none where the line does not say it.
    pub fn values(&self, name: &str) -> &[Value] {
        self.0.iter().find(|(row, _)| row.name == name).map_or(&[], |(_, values)| values)
    }

    /// Images of each prompt with each seed, where the line says how many.
    pub fn images(&self) -> Option<usize> {
        self.values(IMAGES).first().and_then(Value::as_u64).map(|images| images as usize)
    }

    /// How many settings each text of the prompt has, each with its images.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(1, |count, (_, values)| count.saturating_mul(values.len() as u64))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Every text of `value` as a value of `row`, whose option was written as `name`.
fn values(row: &Row, name: &str, value: &Word, names: &dyn Names) -> Result<Vec<Value>, Wrong> {
    let template = Template::parse(&value.text, names)?;
    let count = template.count();
    if count > MAX_PICTURES {
        let problem = format!("{name} with {count} values");
        return Err(Wrong::new(value.column, problem, format!("give it {MAX_PICTURES} or fewer")));
    }
    if count.saturating_mul(template.longest()) > MAX_TEXT {
        let problem = format!("{name} with values of over {} MiB", MAX_TEXT >> 20);
        return Err(Wrong::new(value.column, problem, "make several lists"));
    }
    let one = |text: String| {
        let wrong = |cause: &str| {
            let problem = format!("{name} {:?}", shown(text.chars()));
            Wrong::new(value.column, problem, format!("it {cause}"))
        };
        let value = row.parse(&text).map_err(|error| wrong(&error.cause))?;
        let too_many = row.name == IMAGES && value.as_u64().is_some_and(|images| images > MAX_PICTURES);
        if too_many { Err(wrong(&format!("must be in 1..={MAX_PICTURES}"))) } else { Ok(value) }
    };
    let values = (0..count).map(|index| one(template.text(index))).collect::<Result<Vec<_>, _>>()?;
    if row.name == IMAGES && values.len() > 1 {
        return Err(Wrong::new(value.column, format!("{name} with several values"), "give it one"));
    }
    Ok(values)
}

/// A word of the options, without its quotes.
struct Word {
    text: Vec<Char>,
    column: usize,
}

struct Words<'a> {
    text: &'a [Char],
    at: usize,
}

impl Words<'_> {
    /// The next word: up to a space that stands neither in quotes nor in braces.
    fn next_word(&mut self) -> Result<Option<Word>, Wrong> {
        while self.text.get(self.at).is_some_and(|(c, _)| c.is_whitespace()) {
            self.at += 1;
        }
        let Some(&(_, column)) = self.text.get(self.at) else { return Ok(None) };
        let (mut text, mut quote, mut depth) = (Vec::new(), None, 0usize);
        while let Some(&(c, at)) = self.text.get(self.at) {
            let next = self.text.get(self.at + 1).copied();
            self.at += 1;
            match (c, quote, next) {
                ('\\', Some((open, _)), Some((escaped, at))) if escaped == open => {
                    text.push((escaped, at));
                    self.at += 1;
                }
                (c, Some((open, _)), _) if c == open => quote = None,
                ('"' | '\'', None, _) => quote = Some((c, at)),
                (c, None, _) if c.is_whitespace() && depth == 0 => break,
                ('\\', _, Some((escaped @ ('{' | '}'), next))) => {
                    text.extend([(c, at), (escaped, next)]);
                    self.at += 1;
                }
                (c, _, _) => {
                    match c {
                        '{' => depth += 1,
                        '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    text.push((c, at));
                }
            }
        }
        match quote {
            Some((open, at)) => {
                Err(Wrong::new(at, format!("a {open} that is not closed"), format!("write {open} at its end")))
            }
            None => Ok(Some(Word { text, column })),
        }
    }
}
