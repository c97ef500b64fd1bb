//! Prompts as the text encoder reads them. `{concept}` stands for the learned concept, `{class}` for its class word alone, and
//! `{name}` for the concept of another workspace: each is read as its class word, a concept with its residual embeddings in
//! front of the keys and values. `(text:1.2)` weighs a part (see `diffusion::pieces`).

use std::ops::Range;

use super::error::Result;
use crate::diffusion::{Error, Piece, pieces};
use crate::protocol::{OtherConcept, before_name, next_name, with_class_words};

/// A prompt with class words in place of concepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What is tokenized.
    pub text: String,
    /// The same in parts, each with its weight.
    pub pieces: Vec<Piece>,
    /// Where in the text the learned concept stands first.
    pub own: Option<Range<usize>>,
    /// Which of the other concepts it names.
    pub others: Vec<usize>,
}

impl Reading {
    /// Read `prompt`, which may name the concepts `others`. A `{name}` of none is refused.
    pub fn of(prompt: &str, class_word: &str, others: &[OtherConcept]) -> Result<Self> {
        let mut reading = Self { text: String::new(), pieces: pieces(prompt)?, own: None, others: Vec::new() };
        for piece in &mut reading.pieces {
            let raw = std::mem::take(&mut piece.text);
            let mut rest = raw.as_str();
            while let Some((before, name, after)) = next_name(rest) {
                rest = after;
                let (before, escaped) = before_name(before);
                piece.text.push_str(&before);
                if escaped {
                    piece.text.extend(["{", name, "}"]);
                    continue;
                }
                match others.iter().position(|other| other.name == name) {
                    _ if name == "concept" => {
                        let start = reading.text.len() + piece.text.len();
                        reading.own.get_or_insert(start..start + class_word.len());
                        piece.text.push_str(class_word);
                    }
                    _ if name == "class" => piece.text.push_str(class_word),
                    Some(i) => {
                        piece.text.push_str(&others[i].class_word);
                        if !reading.others.contains(&i) {
                            reading.others.push(i);
                        }
                    }
                    None => {
                        let cause = format!(
                            "names the concept {{{name}}}, which is not given: write {{concept}} for this one, or give it \
                             with --with {name}"
                        );
                        return Err(Error::Prompt { prompt: prompt.into(), cause }.into());
                    }
                }
            }
            piece.text.push_str(rest);
            reading.text.push_str(&piece.text);
        }
        Ok(reading)
    }
}

/// What `prompt` says in plain words. Names of other concepts stay as they are.
pub fn prompt_text(prompt: &str, class_word: &str) -> String {
    let plain = pieces(prompt).map(|pieces| pieces.into_iter().map(|piece| piece.text).collect::<String>());
    with_class_words(plain.as_deref().unwrap_or(prompt), class_word, &[])
}

/// `prompt` without `{concept}` and `{class}`. The evaluation of Textual Inversion (arXiv 2208.01618) leaves its placeholder out in
/// this way, and CatVersion's evaluation follows it. None if the prompt has neither, or if only an article is left.
pub fn scene_text(prompt: &str) -> Option<String> {
    let text = prompt_text(prompt, "");
    if text == prompt_text(prompt, "x") {
        return None;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let says = |word: &&str| !["a", "an", "the"].contains(&word.to_lowercase().as_str());
    words.iter().any(says).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cat() -> OtherConcept {
        OtherConcept { name: "my-cat".into(), class_word: "cat".into(), checkpoint: "/c".into(), strength: 1.0 }
    }

    #[test]
    fn concepts_are_read_as_their_class_words() {
        let reading = Reading::of("a toy, {my-cat} and {concept}, {my-cat}", "toy", &[cat()]).unwrap();
        assert_eq!(reading.text, "a toy, cat and toy, cat");
        assert_eq!((reading.own, reading.others), (Some(15..18), vec![0]));
        let plain = Reading::of("a {class} {of many|few}", "toy", &[cat()]).unwrap();
        assert_eq!((plain.text.as_str(), plain.own, plain.others), ("a toy {of many|few}", None, vec![]));
        let escaped = Reading::of("\\{x} \\{concept} {concept}", "toy", &[]).unwrap();
        assert_eq!((escaped.text.as_str(), escaped.own), ("{x} {concept} toy", Some(14..17)));
        let twice = Reading::of("\\\\{concept} \\\\\\{concept}", "toy", &[]).unwrap();
        assert_eq!((twice.text.as_str(), twice.own), ("\\toy \\{concept}", Some(1..4)), "a backslash, and the concept");
    }

    #[test]
    fn weights_reach_around_concepts() {
        let reading = Reading::of("a ({concept} in snow:1.5)", "toy", &[]).unwrap();
        assert_eq!((reading.text.as_str(), reading.own), ("a toy in snow", Some(2..5)));
        assert_eq!(reading.pieces[1], Piece { text: "toy in snow".into(), weight: 1.5 });
    }

    #[test]
    fn plain_words_have_no_weights_and_no_concept_of_this_workspace() {
        assert_eq!(prompt_text("a ({concept}:1.5) {my-cat} {class}", "toy"), "a toy {my-cat} toy");
        assert_eq!(prompt_text("a ({concept}:99)", "toy"), "a (toy:99)", "what is refused elsewhere");
        assert_eq!(prompt_text("\\{concept} {concept}", "toy"), "{concept} toy");
    }

    #[test]
    fn a_scene_is_what_is_left_without_the_concept() {
        for (prompt, scene) in [
            ("a {concept} on the  beach", Some("a on the beach")),
            ("a photo of a ({concept}:1.5) in snow", Some("a photo of a in snow")),
            ("{class}, at night", Some(", at night")),
            ("a {concept}", None),
            ("{concept}", None),
            ("a teapot on the beach", None),
        ] {
            assert_eq!(scene_text(prompt).as_deref(), scene, "{prompt}");
        }
    }

    #[test]
    fn a_concept_that_is_not_given_is_refused() {
        let error = Reading::of("a {dog}", "toy", &[cat()]).unwrap_err().to_string();
        assert!(error.contains("--with dog") && error.contains("a {dog}"), "{error}");
    }
}
