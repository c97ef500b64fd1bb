//! The text `parameters` that web UIs write into their PNGs and read from others': the prompt, a line
//! `Negative prompt: ...`, and last a line of settings, `Steps: 20, Sampler: Euler a, ...`. A value with a comma, a colon or
//! a line break in it stands in quotes as in JSON.

use std::fmt;

const NEGATIVE: &str = "Negative prompt:";
/// A last line with fewer settings is part of the prompt.
const FEWEST: usize = 3;

/// What such a text says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Parameters {
    /// What the picture shows.
    pub prompt: String,
    /// What it should not.
    pub negative_prompt: String,
    /// Names and values as they stand there, in their order.
    pub settings: Vec<(String, String)>,
}

impl Parameters {
    /// Read them from any text: what is no line of settings is prompt.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let settings = settings(last);
        let (before, settings) = if settings.len() < FEWEST { (text, Vec::new()) } else { (before, settings) };
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

/// `Name: value` pairs, separated by commas outside of quotes. What has no colon is passed over, as by others.
fn settings(line: &str) -> Vec<(String, String)> {
    let mut rest = line;
    let mut settings = Vec::new();
    while !rest.trim().is_empty() {
        let end = end_of_item(rest);
        let item = &rest[..end];
        rest = rest[end..].strip_prefix(',').unwrap_or("");
        let Some((name, value)) = item.split_once(':') else { continue };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == ' ' || c == '_') {
            continue;
        }
        let unquoted = value.starts_with('"').then(|| serde_json::from_str(value).ok()).flatten();
        settings.push((name.to_owned(), unquoted.unwrap_or_else(|| value.to_owned())));
    }
    settings
}

/// Where the item that `text` begins with ends: at a comma outside of quotes. A quote that never closes is no quote.
fn end_of_item(text: &str) -> usize {
    let plain = text.find(',').unwrap_or(text.len());
    let Some(open) = text.find(": \"").map(|at| at + 2).filter(|at| *at < plain) else { return plain };
    let mut escaped = false;
    for (at, c) in text[open + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let after = open + 1 + at + 1;
                return after + text[after..].find(',').unwrap_or(text.len() - after);
            }
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = Parameters {
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
            let written = Parameters { prompt: "a cat".into(), negative_prompt: String::new(), settings };
            proptest::prop_assert_eq!(Parameters::parse(&written.to_string()), written);
        }
    }
}
