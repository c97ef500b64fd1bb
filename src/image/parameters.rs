//! The text `parameters` that web UIs write into their pictures and read from others': the prompt, a line
//! `Negative prompt: ...`, and a line of settings, `Steps: 20, Sampler: Euler a, ...`. A value with a comma, a colon or
//! a line break in it stands in quotes as in JSON; extensions write JSON as it is, and lines of their own behind the settings.

use std::fmt;

const NEGATIVE: &str = "Negative prompt:";
/// What the line of settings begins with, as all of these programs write it.
const STEPS: &str = "Steps:";
/// Fewer settings are part of the prompt.
const FEWEST: usize = 3;
/// What the extension for dynamic prompts writes behind the settings: prompts, so all up to the next of them is one value.
const TEMPLATES: [&str; 2] = ["Template", "Negative Template"];

/// What such a text says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Parameters {
    /// Who wrote it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<&'static str>,
    /// What the picture shows.
    pub prompt: String,
    /// What it should not.
    pub negative_prompt: String,
    /// Names and values as they stand there, in their order.
    pub settings: Vec<(String, String)>,
}

impl Parameters {
    /// Read them from any text: what is no settings is prompt.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (before, settings) = split(text);
        let mut prompt: Vec<&str> = Vec::new();
        let mut negative: Option<Vec<&str>> = None;
        for line in before.lines().map(str::trim) {
            match (line.strip_prefix(NEGATIVE), &mut negative) {
                (Some(rest), None) => negative = Some(vec![rest.trim_start()]),
                (_, Some(negative)) => negative.push(line),
                (_, None) => prompt.push(line),
            }
        }
        Self {
            program: None,
            prompt: prompt.join("\n").trim().to_owned(),
            negative_prompt: negative.unwrap_or_default().join("\n").trim().to_owned(),
            settings,
        }
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.prompt)?;
        if !self.negative_prompt.is_empty() {
            writeln!(f, "{NEGATIVE} {}", self.negative_prompt)?;
        }
        for (i, (name, value)) in self.settings.iter().enumerate() {
            let between = if i == 0 { "" } else { ", " };
            if value.contains([',', ':', '\n', '"']) {
                write!(f, "{between}{name}: {}", serde_json::Value::from(value.as_str()))?;
            } else {
                write!(f, "{between}{name}: {value}")?;
            }
        }
        Ok(())
    }
}

/// The text before the settings, and these: from the last line that begins with `Steps:` on, else the last line.
fn split(text: &str) -> (&str, Vec<(String, String)>) {
    let begins = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect::<Vec<_>>();
    let is_steps = |at: &&usize| text[**at..].trim_start_matches([' ', '\t']).starts_with(STEPS);
    for &at in begins.iter().rev().filter(is_steps).chain(begins.last()) {
        let settings = settings(&text[at..]);
        if settings.len() >= FEWEST {
            return (&text[..at], settings);
        }
    }
    (text, Vec::new())
}

/// `Name: value` pairs, separated by commas and line breaks outside of quotes. What has no colon is passed over, as by others.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut rest = text;
    let mut settings = Vec::new();
    let mut behind_first_line = false;
    while !rest.trim().is_empty() {
        let line_begins = rest.starts_with('\n');
        behind_first_line |= line_begins;
        rest = rest.trim_start_matches([',', '\n', '\r', ' ', '\t']);
        let named = rest.split_once(':').filter(|(name, _)| is_name(name.trim()));
        let Some((name, after)) = named else {
            rest = &rest[rest.find([',', '\n']).unwrap_or(rest.len())..];
            continue;
        };
        let (value, end) = if behind_first_line && line_begins && TEMPLATES.contains(&name.trim()) {
            template(after)
        } else {
            match value(after) {
                // A line of an extension's own that is no list of settings is one value.
                (_, end) if behind_first_line && line_begins && !is_list(&after[end..]) => line(after),
                found => found,
            }
        };
        settings.push((name.trim().to_owned(), value));
        rest = &after[end..];
    }
    settings
}

/// What names of settings are made of.
fn is_name(text: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || " _-/.".contains(c);
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_') && text.chars().all(within)
}

/// Whether the line that goes on so has a name behind every comma.
fn is_list(rest: &str) -> bool {
    let mut rest = rest;
    while let Some(more) = rest.strip_prefix(',') {
        match more.split_once(':') {
            Some((name, after)) if is_name(name.trim()) => rest = &after[value(after).1..],
            _ => return false,
        }
    }
    true
}

/// The value that `text` begins with, and where it ends: at its quote or the end of its JSON, else at a comma or line break.
fn value(text: &str) -> (String, usize) {
    let begin = text.len() - text.trim_start_matches([' ', '\t']).len();
    let own = &text[begin..];
    if own.starts_with(['"', '{', '[']) {
        let mut values = serde_json::Deserializer::from_str(own).into_iter::<serde_json::Value>();
        // Line breaks in quotes are as they are, which JSON does not know.
        let read = values.next().and_then(Result::ok).map(|value| (value, values.byte_offset()));
        let read = read.or_else(|| quoted(own).map(|(text, end)| (serde_json::Value::String(text), end)));
        if let Some((value, end)) = read
            && own[end..].trim_start_matches([' ', '\t', '\r']).chars().next().is_none_or(|c| c == ',' || c == '\n')
        {
            let text = value.as_str().map_or_else(|| own[..end].to_owned(), str::to_owned);
            let after = own[end..].find([',', '\n']).unwrap_or(own.len() - end);
            return (text, begin + end + after);
        }
    }
    let end = own.find([',', '\n']).unwrap_or(own.len());
    (own[..end].trim().to_owned(), begin + end)
}

/// A quoted text with line breaks in it, and where it ends.
fn quoted(text: &str) -> Option<(String, usize)> {
    let (mut inner, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                inner.push(if c == 'n' { '\n' } else { c });
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return text.starts_with('"').then_some((inner, at + 1)),
            c => inner.push(c),
        }
    }
    None
}

/// The rest of the line.
fn line(text: &str) -> (String, usize) {
    let end = text.find('\n').unwrap_or(text.len());
    (text[..end].trim().to_owned(), end)
}

/// The rest of the text up to the next template.
fn template(text: &str) -> (String, usize) {
    let ends = TEMPLATES.iter().filter_map(|name| text.find(&format!("\n{name}:")));
    let end = ends.min().unwrap_or(text.len());
    (text[..end].trim().to_owned(), end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = Parameters {
            program: None,
            prompt: "a (red:1.2) teapot, on grass\nsecond line".into(),
            negative_prompt: "blurry, low: quality\nugly".into(),
            settings: vec![
                setting("Steps", "20"),
                setting("Sampler", "DPM++ 2M"),
                setting("Size", "512x512"),
                setting("Model", "a \"b\", c: d"),
            ],
        };
        let text = parameters.to_string();
        assert!(text.contains("Model: \"a \\\"b\\\", c: d\""), "{text}");
        assert_eq!(Parameters::parse(&text), parameters);
    }

    #[test]
    fn a_text_of_a_web_ui_is_read() {
        let text = "portrait of a cat\nNegative prompt: dog, (bad:1.3)\nSteps: 28, Sampler: Euler a, Schedule type: Karras, \
                    CFG scale: 7, Seed: 3407, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, \
                    Lora hashes: \"one: ab12, two: cd34\", Version: v1.10.1";
        let read = Parameters::parse(text);
        assert_eq!((read.prompt.as_str(), read.negative_prompt.as_str()), ("portrait of a cat", "dog, (bad:1.3)"));
        assert_eq!(read.get("Lora hashes"), Some("one: ab12, two: cd34"));
        assert_eq!(read.get("Version"), Some("v1.10.1"));
        assert_eq!(read.settings.len(), 10);
    }

    #[test]
    fn what_extensions_write_behind_the_settings_is_no_negative_prompt() {
        let head = "a teapot, fine\nNegative prompt: blurry,\ndark\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7";
        for (more, names, last) in [
            ("", 0, ""),
            ("\nTemplate: a {teapot|cup}, x: y\nsecond\nNegative Template: blurry, dark", 2, "blurry, dark"),
            (", Wildcard prompt: \"a {b|c}\nd, e: f\", Version: v1.5.1", 2, "v1.5.1"),
            (", Hashes: {\"model\": \"ab\", \"lora:x\": \"cd\"}, Version: v1.9.4", 2, "v1.9.4"),
            (
                ", TI hashes: \"easy: ab12, bad: cd34\", Civitai resources: [{\"type\":\"x\",\"weight\":1}]",
                2,
                "[{\"type\":\"x\",\"weight\":1}]",
            ),
            (", ADetailer dilate/erode: 4, Mask blur-x: 3, Version: 2", 3, "2"),
            ("\nPostprocess: a fine, b\nUpscaler: ESRGAN, Scale: 2", 3, "2"),
            ("\r\nOdd: { not json, and more", 1, "{ not json, and more"),
        ] {
            let read = Parameters::parse(&format!("{head}{more}"));
            assert_eq!(
                (read.prompt.as_str(), read.negative_prompt.as_str()),
                ("a teapot, fine", "blurry,\ndark"),
                "{more}"
            );
            assert_eq!(read.settings.len(), 3 + names, "{more}: {:?}", read.settings);
            assert!(names == 0 || read.settings.last().unwrap().1 == last, "{more}: {:?}", read.settings);
        }
        let pasted = Parameters::parse("a cat\nSteps: 1, Seed: 2, Size: 3x3\nSteps: 20, Seed: 7, Size: 8x8");
        assert_eq!((pasted.prompt.as_str(), pasted.get("Steps")), ("a cat\nSteps: 1, Seed: 2, Size: 3x3", Some("20")));
    }

    #[test]
    fn a_prompt_alone_has_no_settings() {
        let read = Parameters::parse("a cat, ratio 1:2, very fine");
        assert_eq!((read.prompt.as_str(), read.settings.len()), ("a cat, ratio 1:2, very fine", 0));
        assert_eq!(Parameters::parse(""), Parameters::default());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-zN:, \"\\\\\n]{0,80}") {
            let _ = Parameters::parse(&text);
        }

        #[test]
        fn any_values_come_back(values in proptest::collection::vec("[a-z,: \"\\\\]{1,12}", 3..6)) {
            let settings: Vec<_> =
                values.iter().enumerate().map(|(i, value)| (format!("Key {i}"), value.trim().to_owned())).collect();
            let written = Parameters { prompt: "a cat".into(), settings, ..Parameters::default() };
            proptest::prop_assert_eq!(Parameters::parse(&written.to_string()), written);
        }
    }
}
