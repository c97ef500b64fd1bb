//! Syntax that other programs read in prompts and this one does not: found, to be told before pictures are made of it.

use std::collections::BTreeMap;

use super::prompt_weights::{Mark, marks};
use crate::protocol::{OtherSyntax, SyntaxKind};

/// The most letters of a prompt's part that is shown.
const SHOWN: usize = 40;

/// What of each kind is in `prompts`, which differ from each other.
pub fn other_syntax<'a>(prompts: impl IntoIterator<Item = &'a String>) -> Vec<OtherSyntax> {
    let mut told: BTreeMap<SyntaxKind, OtherSyntax> = BTreeMap::new();
    for prompt in prompts {
        let mut found: BTreeMap<SyntaxKind, Vec<String>> = BTreeMap::new();
        for (kind, part) in parts(prompt) {
            let mut shown: String = part.chars().take(SHOWN).collect();
            if shown.len() < part.len() {
                shown.push('…');
            }
            let known = found.entry(kind).or_default();
            if !known.contains(&shown) {
                known.push(shown);
            }
        }
        for (kind, found) in found {
            let first = || OtherSyntax { kind, prompt: prompt.clone(), found, prompts: 0 };
            told.entry(kind).or_insert_with(first).prompts += 1;
        }
    }
    told.into_values().collect()
}

/// Each part of `prompt` that other programs read otherwise.
fn parts(prompt: &str) -> Vec<(SyntaxKind, &str)> {
    let mut parts = brackets(prompt);
    for (at, _) in prompt.char_indices() {
        let (before, rest) = (&prompt[..at], &prompt[at..]);
        let word = |word: &str| {
            let alone = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
            rest.starts_with(word) && alone(before.chars().next_back()) && alone(rest[word.len()..].chars().next())
        };
        if word("BREAK") {
            parts.push((SyntaxKind::Break, &rest[..5]));
        } else if word("AND") {
            parts.push((SyntaxKind::And, &rest[..3]));
        } else if rest.starts_with("embedding:") && !before.ends_with(char::is_alphanumeric) {
            parts.push((SyntaxKind::Embedding, word_of(rest)));
        } else if let Some(length) = network(rest) {
            parts.push((SyntaxKind::Network, &rest[..length]));
        } else if rest.starts_with("$$") || rest.starts_with("::") {
            let numbers = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
            let number = before.len() - before.trim_end_matches(numbers).len();
            let kind = if rest.starts_with("$$") { SyntaxKind::Quantity } else { SyntaxKind::Chance };
            if before.ends_with(|c: char| c.is_ascii_digit()) {
                parts.push((kind, &prompt[at - number..at + 2]));
            }
        } else if let Some(length) = wildcard(rest) {
            parts.push((SyntaxKind::Wildcard, &rest[..length]));
        }
    }
    parts
}

/// `text` up to a space or comma.
fn word_of(text: &str) -> &str {
    &text[..text.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(text.len())]
}

/// Parentheses and square brackets that are text here and something else to others, but for those within such.
fn brackets(prompt: &str) -> Vec<(SyntaxKind, &str)> {
    let mut parts: Vec<(usize, usize, char)> = Vec::new();
    let mut open: Vec<(usize, char)> = Vec::new();
    for (at, mark) in marks(prompt) {
        match mark {
            Mark::Plain(c @ ('(' | '[')) => open.push((at, c)),
            Mark::Plain(c) => {
                let wanted = if c == ')' { '(' } else { '[' };
                if let Some(place) = open.iter().rposition(|(_, opened)| *opened == wanted) {
                    let (begun, _) = open.remove(place);
                    parts.push((begun, at + 1, wanted));
                }
            }
            _ => {}
        }
    }
    // One that is never closed goes on to the end.
    parts.extend(open.into_iter().map(|(begun, c)| (begun, prompt.len(), c)));
    let within = |(begun, end, _): &(usize, usize, char)| {
        parts.iter().any(|(from, to, _)| (from, to) != (begun, end) && from <= begun && end <= to)
    };
    let outer = parts.iter().filter(|part| !within(part)).filter_map(|&(begun, end, c)| {
        let part = &prompt[begun..end];
        let inside = part[1..].strip_suffix([')', ']']).unwrap_or(&part[1..]);
        let number = inside.rsplit_once(':').map(|(_, number)| number.trim());
        let kind = match c {
            _ if inside.trim().is_empty() => return None,
            '(' => SyntaxKind::Parentheses,
            _ if number.is_some_and(|number| number.parse::<f32>().is_ok()) => SyntaxKind::Editing,
            _ if inside.contains('|') => SyntaxKind::Alternating,
            _ => SyntaxKind::Brackets,
        };
        Some((kind, part))
    });
    outer.collect()
}

/// The length of `<name:...>` that `text` begins with.
fn network(text: &str) -> Option<usize> {
    let (inside, _) = text.strip_prefix('<')?.split_once('>')?;
    let (name, rest) = inside.split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (plain && !rest.is_empty() && !rest.contains(['<', '/'])).then_some(inside.len() + 2)
}

/// The length of the `__name__` that `text` begins with; none where a word file here can have that name.
fn wildcard(text: &str) -> Option<usize> {
    let (name, _) = text.strip_prefix("__")?.split_once("__")?;
    let odd = name.contains(['/', '*', '.', '~']) && !name.contains(char::is_whitespace);
    odd.then_some(name.len() + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prompt: &str) -> Vec<(SyntaxKind, Vec<String>)> {
        other_syntax([&prompt.to_owned()]).into_iter().map(|told| (told.kind, told.found)).collect()
    }

    #[test]
    fn what_others_read_otherwise_is_found_each_kind_once() {
        use SyntaxKind as Kind;
        for (prompt, kind, part) in [
            ("a ((red)) cat", Kind::Parentheses, "((red))"),
            ("a cat (on a mat)", Kind::Parentheses, "(on a mat)"),
            ("a ((red:1.2) cat)", Kind::Parentheses, "((red:1.2) cat)"),
            (r"a (\(red\)) cat", Kind::Parentheses, r"(\(red\))"),
            ("a cat (on a mat", Kind::Parentheses, "(on a mat"),
            ("[red] cat", Kind::Brackets, "[red]"),
            ("[a cat:a dog:0.5]", Kind::Editing, "[a cat:a dog:0.5]"),
            ("a [dog::5] cat", Kind::Editing, "[dog::5]"),
            ("a [cow|horse]", Kind::Alternating, "[cow|horse]"),
            ("a cat BREAK a mat", Kind::Break, "BREAK"),
            ("a cat AND a dog :1.2", Kind::And, "AND"),
            ("a cat <lora:fur-v2:0.8>", Kind::Network, "<lora:fur-v2:0.8>"),
            ("a cat <hypernet:x:1>", Kind::Network, "<hypernet:x:1>"),
            ("a cat, embedding:easynegative", Kind::Embedding, "embedding:easynegative"),
            ("a cat, 2$$red", Kind::Quantity, "2$$"),
            ("a cat, 1-3$$ and $$red", Kind::Quantity, "1-3$$"),
            ("a 0.5::red cat", Kind::Chance, "0.5::"),
            ("a __sub/dir__ cat", Kind::Wildcard, "__sub/dir__"),
            ("a __*__ cat", Kind::Wildcard, "__*__"),
        ] {
            assert_eq!(found(prompt), [(kind, vec![part.to_owned()])], "{prompt}");
        }
        for plain in [
            "",
            "a (red:1.2) cat, ((big:1.1):1.2)",
            r"a \(red\) \[cat\] \(",
            "rock and roll, BREAKING, SAND, a <cat-toy> of 5 :) ]",
            "ratio 16:9, __ ____ a_b __scenes__, std::vector, $$$, a > b < c, () []",
            "a {concept} on {my-cat}, 50 % off, <b>bold</b>",
        ] {
            assert_eq!(found(plain), [], "{plain}");
        }
    }

    #[test]
    fn many_prompts_are_told_of_once() {
        let prompts: Vec<String> = (0..5).map(|i| format!("a [red] cat {i}")).collect();
        let told = other_syntax(&prompts);
        assert_eq!((told.len(), told[0].prompts, told[0].prompt.as_str()), (1, 5, "a [red] cat 0"));
        let warning = told[0].warning();
        assert!(
            warning.contains("[red]") && warning.contains("5 prompts") && warning.contains("(red:0.91)"),
            "{warning}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_at_without_a_panic(prompt in r"[\[\]()|:\\_<>a/.0-9$ é]{0,40}") {
            let _ = found(&prompt);
        }
    }
}
