//! Text with alternatives, ranges and word files in it, whose expansions are counted before any is made.

use std::sync::Arc;

use super::error::{Wrong, shown};

/// How deep alternatives may stand in each other.
pub(super) const MAX_DEPTH: usize = 8;
/// Digits after the point of a range's numbers.
const MAX_DIGITS: usize = 6;

/// What stands for itself behind a backslash.
const ESCAPED: [char; 6] = ['{', '}', '|', '_', '#', '-'];

/// A character and its column, from 1.
pub(super) type Char = (char, usize);

/// A text that stands for several. What it comes to is known from the start: texts are asked for by the thousand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
    count: u64,
    longest: u64,
}

/// A text, or what has several; what has one alone is put into the text around it.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// Alternatives in place, or the lines of a word file, which many places share.
    Choice(Arc<Choice>),
    Range(Range),
}

/// Texts of which one is taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    all: Vec<Template>,
    /// How many texts the alternatives up to each come to together.
    ends: Vec<u64>,
    longest: u64,
}

/// Decimal numbers from one to another, both included, as whole multiples of 10^-digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    first: i64,
    /// Negative for a falling one.
    step: i64,
    count: u64,
    digits: u32,
}

/// What the names in a template mean.
pub(super) trait Names {
    /// What `{name}` becomes; none for a name that is unknown.
    fn placeholder(&self, name: &str) -> Option<String>;
    /// The names there are, for errors.
    fn placeholders(&self) -> String;
    /// The lines of the word file `name`, named at `column`.
    fn words(&self, name: &str, column: usize) -> Result<Arc<Choice>, Wrong>;
}

impl Template {
    pub fn parse(text: &[Char], names: &dyn Names) -> Result<Self, Wrong> {
        let mut parser = Parser { text, at: 0, names };
        let template = parser.sequence(0)?;
        match parser.peek() {
            None => Ok(template),
            Some((_, column)) => Err(Wrong::new(column, "a } without its {", "remove it, or write \\} for a brace")),
        }
    }

    fn of(parts: Vec<Part>) -> Self {
        let count = parts.iter().fold(1, |count: u64, part| count.saturating_mul(part.count()));
        let longest = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.longest()));
        Self { parts, count, longest }
    }

    /// How many texts it stands for; `u64::MAX` for that many or more.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of its longest text, at least.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// The text number `index`, from 0: what stands left changes slowest.
    pub fn text(&self, index: u64) -> String {
        let mut text = String::new();
        self.write(index, &mut text);
        text
    }

    fn write(&self, mut index: u64, text: &mut String) {
        let mut rest = self.count;
        for part in &self.parts {
            rest /= part.count().max(1);
            let own = index / rest.max(1);
            index %= rest.max(1);
            part.write(own, text);
        }
    }
}

impl Part {
    fn count(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Choice(choice) => choice.ends.last().copied().unwrap_or(0),
            Self::Range(range) => range.count,
        }
    }

    fn longest(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Choice(choice) => choice.longest,
            Self::Range(_) => 24,
        }
    }

    fn write(&self, index: u64, text: &mut String) {
        match self {
            Self::Text(own) => text.push_str(own),
            Self::Choice(choice) => {
                let at = choice.ends.partition_point(|end| *end <= index);
                if let Some(one) = choice.all.get(at) {
                    one.write(index - if at == 0 { 0 } else { choice.ends[at - 1] }, text);
                }
            }
            Self::Range(range) => text.push_str(&range.number(index)),
        }
    }
}

impl Choice {
    pub fn of(all: Vec<Template>) -> Self {
        let sum = |sum: &mut u64, one: &Template| {
            *sum = sum.saturating_add(one.count);
            Some(*sum)
        };
        let ends = all.iter().scan(0, sum).collect();
        let longest = all.iter().map(|one| one.longest).max().unwrap_or(0);
        Self { all, ends, longest }
    }
}

impl Range {
    /// `1..5` or `0..1..0.25`; none for what is no range at all.
    pub fn parse(text: &str, column: usize) -> Option<Result<Self, Wrong>> {
        let (first, rest) = text.split_once("..")?;
        let (last, step) = rest.split_once("..").map_or((rest, None), |(last, step)| (last, Some(step)));
        let wrong = |problem: String| Wrong::new(column, problem, "write {1..5}, or {0..1..0.25} with a step");
        let read = || {
            let digits = [first, last, step.unwrap_or("1")]
                .into_iter()
                .map(|number| number.split_once('.').map_or(0, |(_, after)| after.len()))
                .max()
                .unwrap_or(0);
            if digits > MAX_DIGITS {
                return Err(wrong(format!("a range of numbers with over {MAX_DIGITS} digits after the point")));
            }
            let [first, last, step] = [first, last, step.unwrap_or("1")].map(|number| {
                scaled(number, digits).ok_or_else(|| wrong(format!("{:?} is no number", shown(number.chars()))))
            });
            let (first, last, step) = (first?, last?, step?);
            if step <= 0 {
                return Err(wrong("a step of a range that is not above 0".into()));
            }
            let count = (first.abs_diff(last) / step.unsigned_abs()).saturating_add(1);
            Ok(Self { first, step: if last < first { -step } else { step }, count, digits: digits as u32 })
        };
        Some(read())
    }

    pub fn count(self) -> u64 {
        self.count
    }

    /// The number at `index`, from 0.
    pub fn number(self, index: u64) -> String {
        let value = i128::from(self.first) + i128::from(index) * i128::from(self.step);
        let scale = 10i128.pow(self.digits);
        let (sign, value) = (if value < 0 { "-" } else { "" }, value.abs());
        let text = format!("{sign}{}", value / scale);
        if self.digits == 0 {
            return text;
        }
        let after = format!("{:0width$}", value % scale, width = self.digits as usize);
        let after = after.trim_end_matches('0');
        if after.is_empty() { text } else { format!("{text}.{after}") }
    }
}

/// A decimal number times 10^digits.
fn scaled(text: &str, digits: usize) -> Option<i64> {
    let (whole, after) = text.split_once('.').unwrap_or((text, ""));
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.is_empty() || !plain(unsigned) || !plain(after) || (text.contains('.') && after.is_empty()) {
        return None;
    }
    format!("{whole}{after:0<digits$}").parse().ok()
}

/// Where the first of `wanted` is that no backslash stands before.
fn first_of(text: &[Char], wanted: &[char]) -> Option<usize> {
    let mut at = 0;
    while let Some((c, _)) = text.get(at) {
        if wanted.contains(c) {
            return Some(at);
        }
        at += if *c == '\\' { 2 } else { 1 };
    }
    None
}

struct Parser<'a> {
    text: &'a [Char],
    at: usize,
    names: &'a dyn Names,
}

impl Parser<'_> {
    fn peek(&self) -> Option<Char> {
        self.text.get(self.at).copied()
    }

    fn next_is(&self, offset: usize, wanted: char) -> bool {
        self.text.get(self.at + offset).is_some_and(|(c, _)| *c == wanted)
    }

    /// Up to the end, or in braces up to their `|` or `}`.
    fn sequence(&mut self, depth: usize) -> Result<Template, Wrong> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        while let Some((c, column)) = self.peek() {
            let part = match c {
                '}' => break,
                '|' if depth > 0 => break,
                '{' => self.braces(column, depth)?,
                '_' if self.next_is(1, '_') => match self.word_file() {
                    Some(name) => Part::Choice(self.names.words(&name, column)?),
                    None => self.plain(1),
                },
                // Whoever reads the prompt would take the name for a concept's.
                '\\' if self.next_is(1, '{') && self.is_name(2) => self.plain(2),
                '\\' => match self.text.get(self.at + 1) {
                    Some((escaped, _)) if ESCAPED.contains(escaped) => {
                        self.at += 2;
                        Part::Text(String::from(*escaped))
                    }
                    // Other escapes are of those who read weights.
                    _ => self.plain(2),
                },
                _ => self.plain(1),
            };
            match part {
                Part::Text(more) => text.push_str(&more),
                // Passed over once here, not again with every text.
                part if part.count() == 1 => part.write(0, &mut text),
                part => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(part);
                }
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template::of(parts))
    }

    /// Whether a name and its brace come so many characters from here.
    fn is_name(&self, offset: usize) -> bool {
        let rest = &self.text[self.at + offset..];
        let end = rest.iter().position(|(c, _)| !(c.is_alphanumeric() || "-_.".contains(*c)));
        end.is_some_and(|end| end > 0 && rest[end].0 == '\\' && rest.get(end + 1).is_some_and(|(c, _)| *c == '}'))
    }

    /// The next characters as they are.
    fn plain(&mut self, count: usize) -> Part {
        let end = (self.at + count).min(self.text.len());
        let text = self.text[self.at..end].iter().map(|(c, _)| *c).collect();
        self.at = end;
        Part::Text(text)
    }

    /// The name in `__name__`, passed over; none where it is no such thing.
    fn word_file(&mut self) -> Option<String> {
        let rest = &self.text[self.at + 2..];
        let end = (1..rest.len()).find(|&i| rest[i - 1].0 == '_' && rest[i].0 == '_')?;
        let name: String = rest[..end - 1].iter().map(|(c, _)| *c).collect();
        let plain = name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        if !plain || !name.starts_with(char::is_alphanumeric) {
            return None;
        }
        self.at += end + 3;
        Some(name)
    }

    /// `{name}`, `{1..5}` or `{red|blue}`.
    fn braces(&mut self, column: usize, depth: usize) -> Result<Part, Wrong> {
        let inside = &self.text[self.at + 1..];
        let unclosed = || Wrong::new(column, "a { without its }", "close it, or write \\{ for a brace");
        let end = first_of(inside, &['{', '}', '|']).ok_or_else(unclosed)?;
        if inside[end].0 == '}' {
            self.at += end + 2;
            let name: String = inside[..end].iter().map(|(c, _)| *c).collect();
            if let Some(text) = self.names.placeholder(&name) {
                return Ok(Part::Text(text));
            }
            let Some(range) = Range::parse(name.trim(), column) else {
                let problem = format!("{{{}}} stands for nothing", shown(name.chars()));
                let known = self.names.placeholders();
                return Err(Wrong::new(column, problem, format!("there is {known}, {{red|blue}} and {{1..5}}")));
            };
            return range.map(Part::Range);
        }
        if depth >= MAX_DEPTH {
            let problem = format!("alternatives over {MAX_DEPTH} deep in each other");
            return Err(Wrong::new(column, problem, "put them into a word file, or write them out"));
        }
        let mut all = Vec::new();
        loop {
            self.at += 1;
            all.push(self.sequence(depth + 1)?);
            match self.peek() {
                Some(('|', _)) => {}
                Some(_) => break,
                None => return Err(unclosed()),
            }
        }
        self.at += 1;
        Ok(Part::Choice(Arc::new(Choice::of(all))))
    }
}
