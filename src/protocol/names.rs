//! Names of concepts in prompts: `{concept}` is the learned one, `{class}` its class word alone, `{name}` the concept of
//! another workspace. A backslash before the brace makes it text. And how long prompts and such words can be.

use super::{OtherConcept, SettingError};

/// The most characters of a prompt, negative prompt or caption: base models read some hundred.
pub const MAX_PROMPT: usize = 16 << 10;
/// The most characters of a word that stands in prompts.
pub const MAX_WORD: usize = 200;

/// Refuse a prompt that no base model reads, and that takes long to be cut into words.
pub fn check_prompt(setting: &'static str, prompt: &str) -> Result<(), SettingError> {
    check_length(setting, prompt, MAX_PROMPT, "no base model reads so much: at most 16384 characters")
}

/// Refuse a class word that is too long to be one.
pub fn check_word(setting: &'static str, word: &str) -> Result<(), SettingError> {
    check_length(setting, word, MAX_WORD, "that is no word: at most 200 characters")
}

fn check_length(setting: &'static str, text: &str, most: usize, cause: &'static str) -> Result<(), SettingError> {
    match text.char_indices().nth(most) {
        Some(_) => Err(SettingError::new(setting, format!("{} characters", text.chars().count()), cause)),
        None => Ok(()),
    }
}

/// What stands before the first `{name}` of `prompt`, the name, and what comes after. Braces around anything else are text; so
/// are those behind a backslash, with which what stands before then ends.
pub fn next_name(prompt: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = prompt[from..].find('{').map(|at| from + at) {
        let inner = &prompt[open + 1..];
        let length =
            inner.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_' || c == '.')).unwrap_or(inner.len());
        if length > 0 && inner[length..].starts_with('}') {
            return Some((&prompt[..open], &inner[..length], &inner[length + 1..]));
        }
        from = open + 1;
    }
    None
}

/// What stands before a name, and whether its backslashes make the name text: each two of them are one, and one that is left
/// over is for the brace.
pub fn before_name(before: &str) -> (String, bool) {
    let plain = before.trim_end_matches('\\');
    let backslashes = before.len() - plain.len();
    (format!("{plain}{}", "\\".repeat(backslashes / 2)), backslashes % 2 == 1)
}

/// `prompt` with class words in place of names, also of `others`. A name of none of them stays as it is.
pub fn with_class_words(prompt: &str, class_word: &str, others: &[&OtherConcept]) -> String {
    let (mut rest, mut text) = (prompt, String::new());
    while let Some((before, name, after)) = next_name(rest) {
        rest = after;
        let (before, escaped) = before_name(before);
        let other = || others.iter().find(|other| other.name == name).map(|other| &*other.class_word);
        let word = if ["concept", "class"].contains(&name) { Some(class_word) } else { other() };
        match word.filter(|_| !escaped) {
            Some(word) => text.extend([&*before, word]),
            None => text.extend([&*before, "{", name, "}"]),
        }
    }
    text + rest
}

/// Why `word` cannot be a class word; none where it can. It stands in captions and prompts, so what means something there is not
/// part of it.
pub fn class_word_problem(word: &str) -> Option<String> {
    let odd = |c: char| c.is_control() || "{}()[]|\\<>".contains(c);
    match word.chars().find(|&c| odd(c)) {
        _ if word.trim().is_empty() => Some("is empty".into()),
        Some(c) => Some(format!("has {c:?} in it, which means something else in prompts")),
        None if word.contains("__") || word.contains(" --") => {
            Some("has \"__\" or \" --\" in it, which mean something else in prompt lists".into())
        }
        None => check_word("class_word", word).err().map(|error| format!("has {}", error.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_word_is_a_word() {
        for word in ["teapot", "Teekanne für zwei", "toy-car", "急須", "men's shoe", "no. 5"] {
            assert_eq!(class_word_problem(word), None, "{word}");
        }
        for word in
            ["", " ", "teapot{x}", "(teapot:1.2)", "[a|b]", "tea\\pot", "<lora:x>", "a\nb", "__scenes__", "a --seed 3"]
        {
            assert!(class_word_problem(word).is_some(), "{word}");
        }
    }

    #[test]
    fn names_become_class_words_but_for_escaped_and_unknown_ones() {
        let cat =
            OtherConcept { name: "my-cat".into(), class_word: "cat".into(), checkpoint: "/c".into(), strength: 1.0 };
        let read = |prompt| with_class_words(prompt, "toy", &[&cat]);
        assert_eq!(read("a {concept}, {my-cat} and {class}: {my-cat}"), "a toy, cat and toy: cat");
        assert_eq!(read("\\{concept} {concept} \\{my-cat}"), "{concept} toy {my-cat}");
        assert_eq!(read("\\\\{concept} \\\\\\{concept}"), "\\toy \\{concept}");
        assert_eq!(read("{x} {a b} {} {concept"), "{x} {a b} {} {concept");
        assert_eq!(with_class_words("{my-cat} {concept}", "{class}", &[]), "{my-cat} {class}", "words are no prompts");
    }
}
