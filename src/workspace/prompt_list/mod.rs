//! Prompt lists: text files of prompts, sampled as one job. One prompt a line; `#` begins a comment line.
//!
//! | in a line | stands for |
//! |---|---|
//! | `{concept}`, `{class}` | the learned concept; its class word alone |
//! | `{red\|blue}` | each in turn, also in each other, also empty |
//! | `{1..5}`, `{0..1..0.25}` | each number, with a step if given |
//! | `__scenes__` | each line of the word file `scenes.txt` |
//! | `--seed 7 --steps 30 --guidance 7.5 --negative "..." --strength 0.8 --sampler euler --karras --eta 0 -n 4` | settings of this line alone, whose values may be alternatives and ranges too |
//! | `\{`, `\}`, `\|`, `\_`, `\#`, `\-` | the character itself |
//!
//! All else, as the weights in `(word:1.2)`, is left to those who read prompts. What a list comes to is counted before
//! anything is made of it; everything here is plain data.

mod error;
mod options;
mod template;
mod values;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub use error::{ListError, Position};
use error::{Wrong, shown};
use options::Options;
use template::{Char, Choice, Names, Template};
use values::each;
pub use values::{Values, values_of};

use super::Error;
use crate::fs::Show;
use crate::protocol::{MAX_PROMPT, PictureConfig, Row, SampleConfig, SettingError};

/// The most pictures of a list.
pub const MAX_PICTURES: u64 = 20_000;
/// The most bytes of a list or word file.
const MAX_BYTES: u64 = 8 << 20;
/// The most characters of a line.
const MAX_LINE: usize = MAX_PROMPT;
/// The most bytes of all prompts that a list comes to.
const MAX_TEXT: u64 = 64 << 20;

/// A prompt list as read, not expanded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptList {
    path: PathBuf,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    number: usize,
    text: String,
    prompt: Template,
    options: Options,
}

/// What one line comes to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LineCount {
    /// Its number, from 1.
    pub line: usize,
    /// As written.
    pub text: String,
    /// Different prompts.
    pub prompts: u64,
    /// Pictures.
    pub pictures: u64,
}

/// What a list comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed {
    /// The pictures, each once.
    pub pictures: Vec<PictureConfig>,
    /// The line that each is of.
    pub lines: Vec<usize>,
    /// Lines with pictures that are named before with the same settings, and how many of those: they are made once.
    pub repeated: Vec<(usize, usize)>,
}

/// What the names in a list mean, and where its word files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListNames {
    /// What `{class}` becomes.
    pub class_word: String,
    /// Names of other concepts, which prompts may have in braces.
    pub concepts: Vec<String>,
    /// Folders of word files; the first that has one counts.
    pub folders: Vec<PathBuf>,
}

impl PromptList {
    /// The list in the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or is no text, and whatever does not make sense in it, by line and column.
    pub fn read(path: &Path, names: &ListNames) -> Result<Self, Error> {
        Ok(Self::parse(&read_text(path)?, path, names)?)
    }

    /// The list in what `reader` has, which errors say is in `path`.
    ///
    /// # Errors
    /// As of a file.
    pub fn read_from(reader: impl Read, path: &Path, names: &ListNames) -> Result<Self, Error> {
        Ok(Self::parse(&text_of(reader, path)?, path, names)?)
    }

    /// The list in `text`, which errors say is in `path`.
    pub fn parse(text: &str, path: &Path, names: &ListNames) -> Result<Self, ListError> {
        let list = Self::of_lines(numbered(text), path, names)?;
        if list.lines.is_empty() {
            return Err(list.wrong(Position::default(), "no prompt in this list", "write one prompt a line"));
        }
        Ok(list)
    }

    /// The list of these prompts, one a line.
    pub fn of_prompts(prompts: &[String], names: &ListNames) -> Result<Self, ListError> {
        if let Some(empty) = prompts.iter().position(|prompt| prompt.trim().is_empty()) {
            let problem = "an empty prompt".into();
            let remedy = "say what the picture shows, as in \"a {concept} on grass\"".into();
            let place = Position { line: empty + 1, column: 0 };
            return Err(ListError { path: "--prompt".into(), place, problem, remedy });
        }
        let numbered = prompts.iter().enumerate().map(|(i, prompt)| (i + 1, prompt.as_str()));
        Self::of_lines(numbered, Path::new("--prompt"), names)
    }

    fn of_lines<'a>(
        lines: impl Iterator<Item = (usize, &'a str)>,
        path: &Path,
        names: &ListNames,
    ) -> Result<Self, ListError> {
        let known = Known::new(names);
        let mut list = Self { path: path.to_owned(), lines: Vec::new() };
        let mut sum = Sum::default();
        for (number, text) in lines {
            let line = Line::parse(number, text, &known).map_err(|wrong| wrong.at(path, number))?;
            // At once: lines that come to too much must not fill memory before that is told.
            sum.add(&list, &line, line.prompt.count().saturating_mul(line.options.count()))?;
            list.lines.push(line);
        }
        Ok(list)
    }

    /// What each line comes to.
    pub fn counts(&self, values: &Values, base: &SampleConfig) -> Vec<LineCount> {
        let count = |line: &Line| LineCount {
            line: line.number,
            text: line.text.clone(),
            prompts: line.prompt.count(),
            pictures: line.count(values, base),
        };
        self.lines.iter().map(count).collect()
    }

    /// How many pictures it comes to, none of which is made for it.
    ///
    /// # Errors
    /// More of them than [`MAX_PICTURES`], or of their text than memory is for.
    pub fn count(&self, values: &Values, base: &SampleConfig) -> Result<u64, ListError> {
        let mut sum = Sum::default();
        self.lines.iter().try_for_each(|line| sum.add(self, line, line.count(values, base)))?;
        Ok(sum.pictures)
    }

    /// Every picture once, line by line: what a line does not say is from `values`, what they do not say from `base`. In a line
    /// the prompt changes slowest, the seed fastest.
    ///
    /// # Errors
    /// Those of [`count`](Self::count), told before any is made; and settings that do not go together, with the line.
    pub fn expand(&self, values: &Values, base: &SampleConfig) -> Result<Listed, ListError> {
        self.count(values, base)?;
        let mut listed = Listed::default();
        let mut seen = HashSet::new();
        for line in &self.lines {
            let mut repeated = 0;
            for picture in line.pictures(values, base) {
                let wrong = |error: SettingError| {
                    let problem = format!("{} = {}", error.setting, error.value);
                    self.wrong(Position { line: line.number, column: 0 }, problem, error.cause)
                };
                picture.check().map_err(wrong)?;
                // Numbers are written so that each is told from all others.
                if seen.insert(format!("{picture:?}")) {
                    listed.pictures.push(picture);
                    listed.lines.push(line.number);
                } else {
                    repeated += 1;
                }
            }
            if repeated > 0 {
                listed.repeated.push((line.number, repeated));
            }
        }
        Ok(listed)
    }

    /// The pictures of [`expand`](Self::expand).
    ///
    /// # Errors
    /// The same.
    pub fn pictures(&self, values: &Values, base: &SampleConfig) -> Result<Vec<PictureConfig>, ListError> {
        Ok(self.expand(values, base)?.pictures)
    }

    /// Line `line` of it as errors name it.
    pub fn place(&self, line: usize) -> String {
        format!("{}{}", self.path.shown(), Position { line, column: 0 })
    }

    /// Whether lines have settings of their own.
    pub fn has_settings(&self) -> bool {
        self.lines.iter().any(|line| !line.options.is_empty())
    }

    /// The prompts alone.
    ///
    /// # Errors
    /// Those of [`pictures`](Self::pictures), and lines with settings of their own.
    pub fn prompts(&self) -> Result<Vec<String>, ListError> {
        if let Some(line) = self.lines.iter().find(|line| !line.options.is_empty()) {
            let place = Position { line: line.number, column: 0 };
            let remedy = "take them out, or sample the list with `catbench sample --prompts`";
            return Err(self.wrong(place, "settings of a line, where all prompts are sampled alike", remedy));
        }
        Ok(self.lines.iter().flat_map(|line| (0..line.prompt.count()).map(|i| line.prompt_text(i))).collect())
    }

    fn wrong(&self, place: Position, problem: impl Into<String>, remedy: impl Into<String>) -> ListError {
        ListError { path: self.path.clone(), place, problem: problem.into(), remedy: remedy.into() }
    }
}

/// What lines come to together.
#[derive(Default)]
struct Sum {
    pictures: u64,
    bytes: u64,
}

impl Sum {
    /// One more line of `list` with so many pictures, unless it is too much.
    fn add(&mut self, list: &PromptList, line: &Line, pictures: u64) -> Result<(), ListError> {
        let negatives = line.options.values("negative_prompt").iter().filter_map(Value::as_str);
        let negative = negatives.map(str::len).max().unwrap_or(0) as u64;
        self.pictures = self.pictures.saturating_add(pictures);
        self.bytes = self.bytes.saturating_add(pictures.saturating_mul(line.prompt.longest().saturating_add(negative)));
        let place = Position { line: line.number, column: 0 };
        if self.pictures > MAX_PICTURES {
            let many = if pictures == u64::MAX { "more than can be counted".into() } else { pictures.to_string() };
            let problem = format!("with this line, which is {many} pictures, the list has over {MAX_PICTURES}");
            return Err(list.wrong(place, problem, "take alternatives out, or make several lists"));
        }
        if self.bytes > MAX_TEXT {
            let problem = format!("up to this line the prompts are over {} MiB", MAX_TEXT >> 20);
            return Err(list.wrong(place, problem, "make several lists"));
        }
        Ok(())
    }
}

impl Line {
    fn parse(number: usize, text: &str, names: &dyn Names) -> Result<Self, Wrong> {
        let all = characters(text)?;
        let begin = options::begin(&all)?;
        let (prompt, options) = all.split_at(begin);
        let end = prompt.iter().rposition(|(c, _)| !c.is_whitespace()).map_or(0, |last| last + 1);
        if end == 0 {
            return Err(Wrong::new(1, "options without a prompt", "write the prompt in front of them"));
        }
        Ok(Self {
            number,
            text: text.to_owned(),
            prompt: Template::parse(&prompt[..end], names)?,
            options: Options::parse(options, names)?,
        })
    }

    /// Images of each prompt with each seed.
    fn images(&self, values: &Values, base: &SampleConfig) -> usize {
        let own = self.options.values("seed").len();
        let one_each = own > 1 || own == 0 && !values.seeds.is_empty();
        let usual = if one_each { 1 } else { base.images_per_prompt };
        self.options.images().or(values.images_per_prompt).unwrap_or(usual)
    }

    /// What the setting `name` is in the pictures of this line; nothing where it is as everywhere.
    fn values(&self, name: &str, values: &Values) -> Vec<Value> {
        match self.options.values(name) {
            [] => values.of(name),
            own => own.to_vec(),
        }
    }

    fn count(&self, values: &Values, base: &SampleConfig) -> u64 {
        let each = PictureConfig::ROWS.iter().map(|row| match self.options.values(row.name).len() {
            0 => values.count_of(row.name),
            own => own,
        });
        let each = each.chain([values.checkpoints.len()]).map(|count| count.max(1) as u64);
        each.chain([self.images(values, base) as u64]).fold(self.prompt.count(), u64::saturating_mul)
    }

    /// A prompt, without the double spaces that an empty alternative leaves.
    fn prompt_text(&self, index: u64) -> String {
        self.prompt.text(index).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn pictures(&self, values: &Values, base: &SampleConfig) -> Vec<PictureConfig> {
        let mut all: Vec<PictureConfig> = (0..self.prompt.count())
            .map(|index| {
                let prompt = self.prompt_text(index);
                let seed = base.first_seed(&prompt);
                base.picture(prompt, seed)
            })
            .collect();
        if !values.checkpoints.is_empty() {
            all = each(&all, &values.checkpoints, |picture, path| picture.checkpoint = Some(path.clone()));
        }
        let (seed, others): (Vec<&Row>, Vec<&Row>) = PictureConfig::ROWS.iter().partition(|row| row.name == "seed");
        for row in others.into_iter().chain(seed) {
            let values = self.values(row.name, values);
            if !values.is_empty() {
                // Of its kind: the row has read them.
                all = each(&all, &values, |picture, value| drop(picture.put(row.name, value.clone())));
            }
        }
        let images: Vec<u64> = (0..self.images(values, base) as u64).collect();
        // Seeds go round at the end of all numbers, which is as good as any other.
        each(&all, &images, |picture, image| picture.seed = picture.seed.wrapping_add(*image))
    }
}

/// The lines that say something, with their numbers.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // What Windows' editors put in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// The characters of a line without the space around it, each with its column.
fn characters(line: &str) -> Result<Vec<Char>, Wrong> {
    let all: Vec<Char> = line.chars().take(MAX_LINE + 1).zip(1..).collect();
    if all.len() > MAX_LINE {
        return Err(Wrong::new(
            0,
            format!("over {MAX_LINE} characters in a line"),
            "no base model reads so much: cut it",
        ));
    }
    if let Some((odd, column)) = all.iter().find(|(c, _)| c.is_control() && *c != '\t') {
        let problem = format!("the control character {odd:?}");
        return Err(Wrong::new(*column, problem, "a prompt list is plain text: take it out"));
    }
    let is_text = |(c, _): &Char| !c.is_whitespace();
    let (first, last) = (all.iter().position(is_text), all.iter().rposition(is_text));
    Ok(first.zip(last).map_or(Vec::new(), |(first, last)| all[first..=last].to_vec()))
}

/// The text of a list or word file.
fn read_text(path: &Path) -> Result<String, Error> {
    let io = |error| Error::io("read", path)(error);
    text_of(crate::fs::open(path).map_err(io)?, path)
}

fn text_of(reader: impl Read, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Error::io("read", path)(error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let problem = format!("over {} MiB", MAX_BYTES >> 20);
        return Err(Error::invalid(path, problem, "make several lists of it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|byte| *byte == b'\n').count();
        let place = Position { line, column: 0 };
        let (problem, remedy) = ("bytes that are no UTF-8 text".into(), "save it as a UTF-8 text file".into());
        ListError { path: path.to_owned(), place, problem, remedy }.into()
    })
}

/// The names of a list, and the word files that were read.
struct Known<'a> {
    names: &'a ListNames,
    files: RefCell<BTreeMap<String, Arc<Choice>>>,
    /// Words in all of them, and their bytes.
    words: Cell<(u64, u64)>,
    /// In a word file, which must not name others.
    nested: bool,
}

impl<'a> Known<'a> {
    fn new(names: &'a ListNames) -> Self {
        Self { names, files: RefCell::default(), words: Cell::default(), nested: false }
    }
}

impl Names for Known<'_> {
    fn placeholder(&self, name: &str) -> Option<String> {
        match name {
            "class" => Some(self.names.class_word.clone()),
            "concept" => Some("{concept}".into()),
            other => self.names.concepts.iter().any(|known| known == other).then(|| format!("{{{other}}}")),
        }
    }

    fn placeholders(&self) -> String {
        let known = ["concept", "class"].into_iter().chain(self.names.concepts.iter().map(String::as_str));
        known.map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
    }

    fn words(&self, name: &str, column: usize) -> Result<Arc<Choice>, Wrong> {
        if let Some(known) = self.files.borrow().get(name) {
            return Ok(Arc::clone(known));
        }
        if self.nested {
            let problem = format!("__{}__ in a word file", shown(name.chars()));
            return Err(Wrong::new(column, problem, "word files do not name others: put the words here"));
        }
        let places: Vec<PathBuf> = self.names.folders.iter().map(|folder| folder.join(format!("{name}.txt"))).collect();
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            let looked = places.iter().map(|path| path.shown().to_string()).collect::<Vec<_>>().join(" and ");
            let looked = if looked.is_empty() { "nowhere to look".into() } else { looked };
            let problem = format!("no word file __{}__ ({looked})", shown(name.chars()));
            return Err(Wrong::new(column, problem, "write it, one word or phrase a line"));
        };
        let unreadable = |error: Error| Wrong::new(column, format!("__{name}__: {error}"), "put it in order");
        let text = read_text(path).map_err(unreadable)?;
        let inner = Known { nested: true, ..Known::new(self.names) };
        let mut words = Vec::new();
        for (number, line) in numbered(&text) {
            let word = characters(line).and_then(|characters| Template::parse(&characters, &inner));
            words.push(word.map_err(|wrong| Wrong { elsewhere: Some((path.clone(), number)), ..wrong })?);
            let (count, bytes) = self.words.get();
            let (count, bytes) = (count + 1, bytes + line.len() as u64);
            self.words.set((count, bytes));
            if count > MAX_PICTURES || bytes > MAX_BYTES {
                let problem = format!("over {MAX_PICTURES} words, or {} MiB of them", MAX_BYTES >> 20);
                let wrong = Wrong::new(0, format!("{problem}, in the word files"), "use fewer");
                return Err(Wrong { elsewhere: Some((path.clone(), number)), ..wrong });
            }
        }
        if words.is_empty() {
            let wrong = Wrong::new(0, "no word in this file", "write one word or phrase a line");
            return Err(Wrong { elsewhere: Some((path.clone(), 0)), ..wrong });
        }
        let words = Arc::new(Choice::of(words));
        self.files.borrow_mut().insert(name.to_owned(), Arc::clone(&words));
        Ok(words)
    }
}
