//! What stands behind a prompt: `--seed 7 --negative "..."`.

use std::str::FromStr;

use super::error::{Wrong, shown};
use super::template::{Char, Names, Template};
use super::{MAX_PICTURES, MAX_TEXT};
use crate::protocol::SamplerKind;

/// The options there are, for errors.
const KNOWN: &str = "--seed, --steps, --guidance, --negative, --strength, --sampler, --karras, --eta and -n";

/// Settings of one line; an empty list leaves them as they are everywhere, several values give a picture each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Options {
    pub seed: Vec<u64>,
    pub steps: Vec<usize>,
    pub guidance_scale: Vec<f64>,
    pub negative_prompt: Vec<String>,
    pub strength: Vec<f32>,
    pub sampler: Vec<SamplerKind>,
    pub karras: bool,
    pub eta: Vec<f64>,
    pub images_per_prompt: Option<usize>,
}

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
            if dashed.len() < word.len() && (name == "karras" || IS_KNOWN.contains(&format!("--{name}").as_str())) {
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
            let twice = || Wrong::new(column, format!("{name} for the second time"), "say it once");
            if name == "--karras" {
                if value.is_some() {
                    return Err(Wrong::new(column, "--karras with a value", "say --karras alone"));
                }
                if std::mem::replace(&mut options.karras, true) {
                    return Err(twice());
                }
                continue;
            }
            if !IS_KNOWN.contains(&name.as_str()) {
                let problem = format!("{:?} is no option of a line", shown(name.chars()));
                return Err(Wrong::new(column, problem, format!("there are {KNOWN}")));
            }
            let value = match value {
                Some(value) => value,
                None => words
                    .next_word()?
                    .ok_or_else(|| Wrong::new(column, format!("{name} without a value"), "write one behind it"))?,
            };
            let given = match name.as_str() {
                "--seed" => fill(&mut options.seed, &name, &value, names, |_: &u64| true, "a whole number from 0"),
                "--steps" => fill(
                    &mut options.steps,
                    &name,
                    &value,
                    names,
                    |steps| (1..=1000).contains(steps),
                    "a whole number from 1 to 1000",
                ),
                "--guidance" | "--guidance-scale" => {
                    fill(&mut options.guidance_scale, &name, &value, names, |scale| scale.is_finite(), "a number")
                }
                "--negative" | "--negative-prompt" => {
                    fill(&mut options.negative_prompt, &name, &value, names, |_: &String| true, "a text")
                }
                "--strength" => fill(
                    &mut options.strength,
                    &name,
                    &value,
                    names,
                    |strength| strength.is_finite() && *strength >= 0.0,
                    "a number from 0",
                ),
                "--sampler" => {
                    let words = SamplerKind::ALL.map(SamplerKind::word).join(", ");
                    let mut given = options.sampler.iter().map(|sampler| sampler.word().to_owned()).collect();
                    let is_one = |text: &String| SamplerKind::ALL.iter().any(|sampler| sampler.word() == text);
                    let filled = fill(&mut given, &name, &value, names, is_one, &format!("one of {words}"));
                    let of = |text: &String| SamplerKind::ALL.into_iter().find(|sampler| sampler.word() == text);
                    options.sampler = given.iter().filter_map(of).collect();
                    filled
                }
                "--eta" => fill(
                    &mut options.eta,
                    &name,
                    &value,
                    names,
                    |eta| (0.0..=1.0).contains(eta),
                    "a number from 0 to 1",
                ),
                _ => {
                    let mut images = options.images_per_prompt.into_iter().collect();
                    let most = MAX_PICTURES as usize;
                    let what = format!("a whole number from 1 to {most}");
                    let filled =
                        fill(&mut images, &name, &value, names, |images: &usize| (1..=most).contains(images), &what);
                    if images.len() > 1 {
                        return Err(Wrong::new(value.column, "-n with several values", "give it one"));
                    }
                    options.images_per_prompt = images.pop();
                    filled
                }
            };
            if !given? {
                return Err(twice());
            }
        }
        Ok(options)
    }

    /// How many settings each text of the prompt has, each with its images.
    pub fn count(&self) -> u64 {
        [
            self.seed.len(),
            self.steps.len(),
            self.guidance_scale.len(),
            self.negative_prompt.len(),
            self.strength.len(),
            self.sampler.len(),
            self.eta.len(),
        ]
        .into_iter()
        .fold(1, |count, values| count.saturating_mul(values.max(1) as u64))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

const IS_KNOWN: [&str; 11] = [
    "--seed",
    "--steps",
    "--guidance",
    "--guidance-scale",
    "--negative",
    "--negative-prompt",
    "--strength",
    "--sampler",
    "--eta",
    "-n",
    "--images",
];

/// Every text of `value` as a value of the option `name`. False where it has been given before.
fn fill<T: FromStr>(
    values: &mut Vec<T>,
    name: &str,
    value: &Word,
    names: &dyn Names,
    fits: impl Fn(&T) -> bool,
    what: &str,
) -> Result<bool, Wrong> {
    if !values.is_empty() {
        return Ok(false);
    }
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
    for index in 0..count {
        let text = template.text(index);
        let Some(fitting) = text.parse().ok().filter(&fits) else {
            let problem = format!("{name} {:?}", shown(text.chars()));
            return Err(Wrong::new(value.column, problem, format!("it takes {what}")));
        };
        values.push(fitting);
    }
    Ok(true)
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
