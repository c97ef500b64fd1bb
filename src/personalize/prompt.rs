//! Prompts and captions as the text encoders read them. `{concept}` stands for the learned concept, `{class}` for its class word alone,
//! and `{name}` for the concept of another workspace. Where a concept stands its class word is written; what was learned of it enters
//! the text encoder beside that, or in its place. `(text:1.2)` weighs a part (see `diffusion::pieces`).

use std::ops::Range;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::error::Result;
use crate::diffusion::{Error, LearnedWord, Piece, Span, Tokenizer, Tokens, pieces};
use crate::protocol::{OtherConcept, SettingError, before_name, next_name, with_class_words};

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
    /// Where in the text concepts stand, in their order: the learned one, or one of the others by its number.
    pub places: Vec<(Range<usize>, Option<usize>)>,
}

/// The token positions that words of concepts take: the learned one's, and those of others by their number. 0 is a concept that is read
/// as its class word.
#[derive(Debug, Clone, Default)]
pub struct WordLengths {
    /// Of the learned concept.
    pub own: usize,
    /// Of the others.
    pub others: Vec<usize>,
}

impl WordLengths {
    /// Of the concepts whose checkpoints are at `own` and those of `others`; one that is not there yet counts as its class word.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn of(own: Option<&Path>, others: &[OtherConcept]) -> Result<Self> {
        let length = |path: &Path| {
            if path.is_file() { Ok(Checkpoint::load(path)?.meta.config.method.word_length()) } else { Ok(0) }
        };
        let others = others.iter().map(|other| length(&other.checkpoint)).collect::<Result<_>>()?;
        Ok(Self { own: own.map_or(Ok(0), length)?, others })
    }
}

/// The first id of a word that is counted, and not encoded: no vocabulary reaches it.
const WORD: u32 = u32::MAX / 2;

/// Tokenize `text`. `words` says where words of concepts stand, and how many positions each takes.
fn tokens(text: &str, words: impl Iterator<Item = (Range<usize>, usize)>, tokenizer: &Tokenizer) -> Result<Tokens> {
    let word = |(range, length)| Span { range, ids: WORD..WORD + length as u32 };
    let spans: Vec<_> = words.filter(|(_, length)| *length > 0).map(word).collect();
    Ok(tokenizer.tokens_with(text, &spans)?)
}

/// A caption of a training as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// What is tokenized.
    pub text: String,
    /// Where in it the concept stands that is a word of its own.
    concepts: Vec<Range<usize>>,
}

impl Caption {
    /// Read `template`, with the class word for `{class}` and, where the concept `is_word`, for `{concept}`.
    pub fn of(template: &str, class_word: &str, is_word: bool) -> Self {
        let (mut text, mut concepts) = (String::new(), Vec::new());
        let parts: Vec<&str> = if is_word { template.split("{concept}").collect() } else { vec![template] };
        for (i, part) in parts.into_iter().enumerate() {
            if i > 0 {
                concepts.push(text.len()..text.len() + class_word.len());
                text.push_str(class_word);
            }
            text.push_str(&part.replace("{class}", class_word));
        }
        Self { text, concepts }
    }

    /// What of it `tokenizer` cuts, with a word of the concept that has `length` positions; empty when all is read.
    ///
    /// # Errors
    /// Every such word is cut off: a step on the caption would learn nothing.
    pub fn cut(&self, length: usize, tokenizer: &Tokenizer) -> Result<String> {
        let tokens = tokens(&self.text, self.concepts.iter().map(|range| (range.clone(), length)), tokenizer)?;
        if length == 0 || self.concepts.is_empty() || tokens.ids.contains(&WORD) {
            return Ok(tokens.cut);
        }
        let cause = "the text encoder stops reading before the new word: take a shorter caption, or fewer vectors";
        Err(SettingError::new("caption", format!("\"{}\"", self.text), cause).into())
    }

    /// Where the concept's word stands.
    pub fn words(&self) -> Vec<LearnedWord> {
        self.concepts.iter().map(|range| LearnedWord { range: range.clone(), word: 0 }).collect()
    }
}

impl Reading {
    /// What of it a tokenizer cuts; empty when all is read.
    pub fn cut(&self, lengths: &WordLengths, tokenizer: &Tokenizer) -> Result<String> {
        let length = |whose: Option<usize>| whose.map_or(lengths.own, |i| lengths.others.get(i).copied().unwrap_or(0));
        let words = self.places.iter().map(|(range, whose)| (range.clone(), length(*whose)));
        Ok(tokens(&self.text, words, tokenizer)?.cut)
    }

    /// Read `prompt`, which may name the concepts `others`. A `{name}` of none is refused.
    pub fn of(prompt: &str, class_word: &str, others: &[OtherConcept]) -> Result<Self> {
        let pieces = pieces(prompt)?;
        let mut reading = Self { text: String::new(), pieces, own: None, others: Vec::new(), places: Vec::new() };
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
                        let range = start..start + class_word.len();
                        reading.own.get_or_insert(range.clone());
                        reading.places.push((range, None));
                        piece.text.push_str(class_word);
                    }
                    _ if name == "class" => piece.text.push_str(class_word),
                    Some(i) => {
                        let start = reading.text.len() + piece.text.len();
                        reading.places.push((start..start + others[i].class_word.len(), Some(i)));
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

/// `prompt` without `{concept}` and `{class}`. The evaluation of arXiv 2208.01618 leaves its placeholder out in this way, and many since
/// follow it. None if the prompt has neither, or if only an article is left.
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
    fn captions_are_read_as_they_are_but_for_the_words_in_braces() {
        let plain = Caption::of("a ({class}:1.2) {concept}", "toy", false);
        assert_eq!((plain.text.as_str(), plain.words()), ("a (toy:1.2) {concept}", vec![]));
        let word = Caption::of("{concept}, a {class} like {concept}", "toy", true);
        assert_eq!(word.text, "toy, a toy like toy");
        assert_eq!(word.words().iter().map(|word| word.range.clone()).collect::<Vec<_>>(), [0..3, 16..19]);
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
