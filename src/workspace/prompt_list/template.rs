//! Text with alternatives, ranges and word files in it, whose expansions are counted before any is made.

use std::sync::Arc;

use super::error::{Wrong, shown};

/// How deep alternatives may stand in each other.
pub(super) const MAX_DEPTH: usize = 8;
/// Digits after the point of a range's numbers.
const MAX_DIGITS: usize = 6;

/// A character and its column, from 1.
pub(super) type Char = (char, usize);

/// A text that stands for several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// Alternatives in place, or the lines of a word file, which many places share.
    Choice(Arc<Vec<Template>>),
    Range(Range),
}

/// Decimal numbers from one to another, both included, as whole multiples of 10^-digits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
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
    fn words(&self, name: &str, column: usize) -> Result<Arc<Vec<Template>>, Wrong>;
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

    /// How many texts it stands for; `u64::MAX` for that many or more.
    pub fn count(&self) -> u64 {
        self.parts.iter().fold(1, |count, part| count.saturating_mul(part.count()))
    }

    /// Bytes of its longest text, at least.
    pub fn longest(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| {
            sum.saturating_add(match part {
                Part::Text(text) => text.len() as u64,
                Part::Choice(all) => all.iter().map(Self::longest).max().unwrap_or(0),
                Part::Range(_) => 24,
            })
        })
    }

    /// The text number `index`, from 0: what stands left changes slowest.
    pub fn text(&self, index: u64) -> String {
        let mut text = String::new();
        self.write(index, &mut text);
        text
    }

    fn write(&self, mut index: u64, text: &mut String) {
        let mut rest = self.count();
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
            Self::Choice(all) => all.iter().fold(0, |sum, one| sum.saturating_add(one.count())),
            Self::Range(range) => range.count,
        }
    }

    fn write(&self, mut index: u64, text: &mut String) {
        match self {
            Self::Text(own) => text.push_str(own),
            Self::Choice(all) => {
                for one in all.iter() {
                    let count = one.count();
                    if index < count {
                        return one.write(index, text);
                    }
                    index -= count;
                }
            }
            Self::Range(range) => text.push_str(&range.number(index)),
        }
    }
}

impl Range {
    /// `1..5` or `0..1..0.25`; none for what is no range at all.
    fn parse(text: &str, column: usize) -> Option<Result<Self, Wrong>> {
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
            let count = first.abs_diff(last) / step.unsigned_abs() + 1;
            Ok(Self { first, step: if last < first { -step } else { step }, count, digits: digits as u32 })
        };
        Some(read())
    }

    fn number(self, index: u64) -> String {
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
                '\\' => match self.text.get(self.at + 1) {
                    Some((escaped @ ('{' | '}' | '|' | '_' | '#' | '-'), _)) => {
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
        Ok(Template { parts })
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
        let end = inside.iter().position(|(c, _)| matches!(c, '{' | '}' | '|')).ok_or_else(unclosed)?;
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
        Ok(Part::Choice(Arc::new(all)))
    }
}
