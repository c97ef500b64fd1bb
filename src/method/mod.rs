//! The methods by which a concept is learned. A method is a folder here and a line in the list below; nothing else names it. Whoever
//! trains, samples, scores, exports or shows a run asks its [`Method`].
//!
//! What a method declares of itself and its settings is plain data, which everybody may read. What it does with models only `runner`
//! and `personalize` ask for.

pub mod catversion;
pub mod textual_inversion;

use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde_json::Value;

use crate::diffusion::{Additions, BaseModel, Outline, TensorFile, Tracked};
use crate::personalize::{self, Checkpoint, Learned};
use crate::protocol::{Declaration, Format, SettingError, TrainConfig};

/// List the methods: for each the variant of its settings and its module, which has `Settings` and `DECLARATION`. The first is the
/// method of files that name none.
macro_rules! methods {
    ($first:ident => $first_module:ident, $($variant:ident => $module:ident),* $(,)?) => {
        methods! { @all $first_module::Settings, $first, $first => $first_module, $($variant => $module),* }
    };
    (@all $usual:ty, $first:ident, $($variant:ident => $module:ident),+) => {
        /// The settings that only one method has, of that method.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MethodSettings {
            $( #[doc = concat!("Of the method `", stringify!($module), "`.")] $variant($module::Settings), )+
        }

        impl MethodSettings {
            /// What all methods say of themselves.
            pub const ALL: &'static [&'static Declaration] = &[$( &$module::DECLARATION, )+];
            /// Their names.
            pub const NAMES: &'static [&'static str] = &[$( $module::DECLARATION.name, )+];

            /// The usual settings of the method `name`.
            ///
            /// # Errors
            /// There is none of that name.
            pub fn named(name: &str) -> Result<Self, SettingError> {
                $( if name == $module::DECLARATION.name {
                    return Ok(Self::$variant($module::Settings::default()));
                } )+
                let cause = format!("must be one of {}", Self::NAMES.join(", "));
                Err(SettingError::new("method", name, cause))
            }

            /// What the method says of itself.
            pub fn declaration(&self) -> &'static Declaration {
                match self { $( Self::$variant(_) => &$module::DECLARATION, )+ }
            }

            /// The value of the setting `name`; null where it is unset or there is none of that name.
            pub fn value(&self, name: &str) -> Value {
                match self { $( Self::$variant(own) => own.value(name), )+ }
            }

            /// Set the setting `name`. Whether there is one of that name.
            ///
            /// # Errors
            /// The value is of another kind.
            pub fn put(&mut self, name: &str, value: Value) -> Result<bool, serde_json::Error> {
                match self { $( Self::$variant(own) => own.put(name, value), )+ }
            }

            /// Write the setting `name` as an entry of `map`.
            ///
            /// # Errors
            /// The map cannot be written.
            pub fn entry<M: SerializeMap>(&self, name: &str, map: &mut M) -> Result<(), M::Error> {
                match self { $( Self::$variant(own) => own.entry(name, map), )+ }
            }
        }

        impl std::ops::Deref for MethodSettings {
            type Target = dyn Method;

            fn deref(&self) -> &Self::Target {
                match self { $( Self::$variant(own) => own, )+ }
            }
        }

        impl Default for MethodSettings {
            fn default() -> Self {
                Self::$first(<$usual>::default())
            }
        }

        $( impl From<$module::Settings> for MethodSettings {
            fn from(own: $module::Settings) -> Self {
                Self::$variant(own)
            }
        } )+
    };
}

methods! {
    CatVersion => catversion,
    TextualInversion => textual_inversion,
}

/// A training, as a method is asked about it.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The frozen model.
    pub model: &'a BaseModel,
    /// What kind of thing the concept is.
    pub class_word: &'a str,
    /// The settings.
    pub config: &'a TrainConfig,
}

/// What a method does, asked of its settings.
pub trait Method {
    /// Refuse settings that cannot work together, whatever the base model.
    ///
    /// # Errors
    /// The first that cannot.
    fn check(&self, config: &TrainConfig) -> Result<(), SettingError>;

    /// Refuse settings that cannot work with `model`.
    ///
    /// # Errors
    /// The first that cannot.
    fn check_model(&self, model: &Outline) -> Result<(), SettingError>;

    /// The captions of the training; a step draws one for each photo. `{class}` and `{concept}` stand in them.
    fn captions(&self, config: &TrainConfig) -> Vec<String>;

    /// The token positions that the concept takes as a word of its own, the first of the words that [enter](Self::enter). 0 where it is
    /// read as its class word.
    fn word_length(&self) -> usize {
        0
    }

    /// The first layer of a text encoder with this many `layers` that reads something else because of what is learned.
    fn first_layer(&self, layers: usize) -> usize;

    /// What is learned, before the first step: named tensors of float32 on the CPU, each name beginning with the part of the base model
    /// that the tensor enters.
    ///
    /// # Errors
    /// A setting that cannot work here, a failing computation.
    fn start(&self, task: &Task<'_>) -> personalize::Result<Learned>;

    /// What the named tensors add to each text encoder, one entry for each in the order of the model's list, at `strength` above 0;
    /// 1 is as trained.
    ///
    /// # Errors
    /// A failing computation.
    fn enter(
        &self,
        task: &Task<'_>,
        tensors: &[(String, Tracked)],
        strength: f32,
    ) -> personalize::Result<Vec<Additions>>;

    /// Refuse names and shapes that are not of this method.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn check_learned(&self, shapes: &[(String, Vec<usize>)]) -> Result<(), String>;

    /// The settings that only this method has, as people read them.
    fn in_words(&self) -> Vec<(&'static str, String)>;

    /// What is in a file of `format` as a checkpoint for `model`, whose hash the caller fills in.
    ///
    /// # Errors
    /// A file that is none or does not fit.
    fn import(
        &self,
        format: &Format,
        path: &Path,
        model: &Outline,
        class_word: &str,
    ) -> personalize::Result<Checkpoint>;

    /// Write `checkpoint` of `concept` to `path` as `format`; over a file of another kind only with `force`. Gives the files written, and
    /// what the user should know.
    ///
    /// # Errors
    /// A checkpoint that the format has no place for; a file that cannot be written.
    fn export(&self, format: &Format, export: &Export<'_>) -> personalize::Result<(Vec<PathBuf>, Vec<String>)>;
}

/// What is to be written as a file of another program.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// The file.
    pub path: &'a Path,
    /// What was learned.
    pub checkpoint: &'a Checkpoint,
    /// The concept's name.
    pub concept: &'a str,
    /// Whether to write over a file of another kind.
    pub force: bool,
}

impl Export<'_> {
    /// Refuse to write over a file that is not of the same kind, unless it is forced. `what` the format's files are called.
    ///
    /// # Errors
    /// Just that.
    fn check_path(&self, what: &'static str, is_one: impl FnOnce(&TensorFile) -> bool) -> personalize::Result<()> {
        if self.force || !self.path.exists() || TensorFile::open(self.path).is_ok_and(|file| is_one(&file)) {
            return Ok(());
        }
        let cause = "is there already and is another kind of file: choose another name, or --force to write over it";
        Err(personalize::Error::OtherFile { what, path: self.path.to_owned(), cause: cause.into() })
    }
}

/// Write a file of another program, called `what`, in one go.
///
/// # Errors
/// It cannot be written.
fn write(what: &'static str, path: &Path, bytes: &[u8]) -> personalize::Result<()> {
    crate::fs::write_atomic(path, bytes).map_err(|error| {
        let cause = format!("cannot be written: {error}");
        personalize::Error::OtherFile { what, path: path.to_owned(), cause }
    })
}

/// The part of a learned tensor's name that says what it enters, and the rest.
pub(crate) fn part_and_rest(name: &str) -> Option<(&str, &str)> {
    name.split_once('.')
}
