//! Textual Inversion (Gal et al. 2022, arXiv 2208.01618): a concept learned as the vectors of one new word of the text encoder's
//! vocabulary, everything else frozen (section 4). `{concept}` in a prompt is that word.
//!
//! The vectors start as the vectors of a word that is there already. Strength moves them on the line from there to what was learned.

mod settings;
mod templates;

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use self::settings::CAPTION;
pub use self::settings::{DECLARATION, Settings, Templates};
use super::{Export, Method, Task, part_and_rest, write};
use crate::diffusion::{Additions, Embedding, Outline, TextModel, TextOutline, Tokenizer, Tracked};
use crate::personalize::{Checkpoint, Error, Learned, Result, file_bytes, tensor_bytes};
use crate::protocol::{Format, SettingError, TrainConfig};

/// What the vectors [n, D] of a text encoder are called, behind its name.
const WORD: &str = "word";

/// What its files of other programs are called.
const FILE: &str = "embedding";

/// The ids of the tokens of `word`.
///
/// # Errors
/// The tokenizer has none for it.
fn ids_of(word: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>, SettingError> {
    let found = tokenizer.positions_of(word, word).and_then(|places| Ok((places, tokenizer.tokens(word)?.ids)));
    let ids: Vec<u32> =
        found.map(|(places, ids)| places.into_iter().map(|place| ids[place]).collect()).unwrap_or_default();
    if ids.is_empty() {
        return Err(no_word(word, "the tokenizer has no token for it: name another word"));
    }
    Ok(ids)
}

impl Settings {
    /// The vectors [n, D] that the word starts from in `text`: the vectors of the tokens of a word that is there already, in turn.
    fn start_in(&self, task: &Task<'_>, text: &TextModel) -> Result<Tensor> {
        let word = self.init_word.as_deref().unwrap_or(task.class_word);
        let ids = ids_of(word, &text.tokenizer)?;
        let ids: Vec<u32> = ids.into_iter().cycle().take(self.vectors).collect();
        Ok(text.encoder.vectors_of(&ids)?)
    }
}

impl Method for Settings {
    fn check(&self, config: &TrainConfig) -> Result<(), SettingError> {
        if let Some(word) = self.init_word.as_ref().filter(|word| word.trim().is_empty()) {
            return Err(no_word(word, "must be a word"));
        }
        let wrong = |cause| Err(SettingError::new("caption", format!("\"{}\"", config.caption), cause));
        match self.templates {
            Templates::None if config.caption.contains("{concept}") => Ok(()),
            Templates::None => wrong("must contain {concept}, the new word's place"),
            _ if config.caption == CAPTION => Ok(()),
            _ => wrong("is read only with templates = none: now sentences of its own are"),
        }
    }

    fn check_model(&self, model: &Outline) -> Result<(), SettingError> {
        // Start, end, and something else to say.
        let shortest = model.texts.iter().map(TextOutline::length).min().unwrap_or(0).saturating_sub(3);
        if self.vectors > shortest {
            let cause = format!("the text encoder has room for {shortest}");
            return Err(SettingError::new("vectors", self.vectors, cause));
        }
        let Some(word) = &self.init_word else { return Ok(()) };
        model.texts.iter().try_for_each(|text| ids_of(word, &text.tokenizer).map(drop))
    }

    fn captions(&self, config: &TrainConfig) -> Vec<String> {
        let of = |all: &[&str]| all.iter().map(|template| template.replace("{}", "{concept}")).collect();
        match self.templates {
            Templates::None => vec![config.caption.clone()],
            Templates::Object => of(&templates::OBJECT),
            Templates::Style => of(&templates::STYLE),
        }
    }

    fn word_length(&self) -> usize {
        self.vectors
    }

    fn first_layer(&self, _: usize) -> usize {
        0
    }

    fn start(&self, task: &Task<'_>) -> Result<Learned> {
        let vectors = |text: &TextModel| Ok((format!("{}.{WORD}", text.name), self.start_in(task, text)?));
        Learned::new(&task.model.texts.iter().map(vectors).collect::<Result<Vec<_>>>()?)
    }

    fn enter(&self, task: &Task<'_>, tensors: &[(String, Tracked)], strength: f32) -> Result<Vec<Additions>> {
        let of = |text: &TextModel| {
            let own = tensors.iter().find(|(name, _)| part_and_rest(name) == Some((&text.name, WORD)));
            let missing = || crate::diffusion::Error::Setting(format!("nothing was learned for {}", text.name));
            let mut vectors = own.map(|(_, vectors)| vectors.clone()).ok_or_else(missing)?;
            if strength.to_bits() != 1f32.to_bits() {
                let start = self.start_in(task, text)?.to_device(vectors.value().device())?;
                vectors = (&start + ((vectors.value() - &start)? * f64::from(strength))?)?.into();
            }
            Ok(Additions { words: vec![vectors], ..Additions::default() })
        };
        task.model.texts.iter().map(of).collect()
    }

    fn check_learned(&self, shapes: &[(String, Vec<usize>)]) -> Result<(), String> {
        if let Some((name, _)) =
            shapes.iter().find(|(name, _)| part_and_rest(name).is_none_or(|(_, rest)| rest != WORD))
        {
            return Err(format!("tensor {name} is no word's"));
        }
        match shapes.iter().find(|(_, shape)| shape.len() != 2 || shape[0] != self.vectors) {
            Some((name, shape)) => {
                Err(format!("tensor {name} is {shape:?}: a word of {} vectors is [n, D]", self.vectors))
            }
            None => Ok(()),
        }
    }

    fn in_words(&self) -> Vec<(&'static str, String)> {
        let vectors = if self.vectors == 1 { "1 vector".into() } else { format!("{} vectors", self.vectors) };
        let word = self.init_word.as_ref().map_or("the class word".into(), |word| format!("\"{word}\""));
        let captions = match self.templates {
            Templates::None => "the caption alone".into(),
            Templates::Object => {
                format!("{} sentences about an object, in place of the caption", templates::OBJECT.len())
            }
            Templates::Style => format!("{} sentences about a style, in place of the caption", templates::STYLE.len()),
        };
        vec![("word", format!("{vectors}, from {word}")), ("templates", captions)]
    }

    fn import(&self, _: &Format, path: &Path, model: &Outline, class_word: &str) -> Result<Checkpoint> {
        let [text] = &model.texts[..] else {
            return Err(bad(path, "is for one text encoder, and this base model has several"));
        };
        // Whatever its word is there, and wherever that cannot be one: here it is {concept}.
        let embedding = Embedding::read(path, Some(WORD))?;
        embedding.check_width(text.width())?;
        let mut config = TrainConfig::of(DECLARATION.name, None)?;
        config.method = Self { vectors: embedding.count(), ..Self::default() }.into();
        config.method.check_model(model)?;
        let learned = Learned::new(&[(format!("text_encoder.{WORD}"), embedding.vectors)])?;
        Checkpoint::of_file(learned, class_word, config)
    }

    fn export(&self, _: &Format, export: &Export<'_>) -> Result<(Vec<PathBuf>, Vec<String>)> {
        let path = export.path;
        export.check_path(FILE, |file| file.tensors().count() == 1)?;
        let mut tensors = tensor_bytes(&export.checkpoint.learned.tensors()?).map_err(|cause| bad(path, cause))?;
        let [(name, ..)] = &mut tensors[..] else {
            return Err(bad(path, "has room for the word of one text encoder"));
        };
        // diffusers takes the name of the tensor for the word, web UIs the name of the file.
        *name = format!("<{}>", export.concept.split_whitespace().collect::<Vec<_>>().join("-"));
        let bytes = file_bytes(&tensors, None).map_err(|cause| bad(path, cause))?;
        write(FILE, path, &bytes)?;
        Ok((vec![path.to_owned()], Vec::new()))
    }
}

/// A word that the new one cannot start from.
fn no_word(word: &str, cause: &'static str) -> SettingError {
    SettingError::new("init_word", format!("\"{word}\""), cause)
}

/// A file that is no embedding, or that cannot be one.
fn bad(path: &Path, cause: impl Into<String>) -> Error {
    Error::OtherFile { what: FILE, path: path.to_owned(), cause: cause.into() }
}
