//! The settings of Textual Inversion, and what it says of itself. Its presets follow diffusers' script: the learning rate, the batch
//! and the steps of its README, and what the script does to photos.

use crate::protocol::{Declaration, Format, Kind, Preset, settings, words};

words! {
    /// Which captions a training draws from.
    pub enum Templates {
        /// The caption alone.
        None = "none",
        /// The paper's sentences about an object.
        Object = "object",
        /// The paper's sentences about a style.
        Style = "style",
    }
}

settings! {
    /// The settings that only Textual Inversion has.
    pub struct Settings {
        /// Vectors of the new word; each takes the place of a token in prompts.
        vectors: usize = 1, Kind::Whole(1, 64);
        /// The word whose own vectors the new one starts from; the class word if none is named.
        init_word: Option<String> = None, Kind::Text, left_out: true, unset: Some("the class word");
        /// Captions of the training: sentences about an object or about a style, of which each photo is given one at random, or none for
        /// the caption alone.
        templates: Templates = Templates::Object, Kind::Word(Templates::WORDS);
    }
}

/// A file of one word's vectors.
pub const EMBEDDING: &str = "embedding";
/// The same, as diffusers has it.
pub const DIFFUSERS: &str = "diffusers";

/// The caption that stands where none is read: templates are.
pub(super) const CAPTION: &str = "a photo of a {concept}";

/// What both presets set.
macro_rules! of_script {
    ($($more:expr),*) => {
        &[
            ("steps", "3000"),
            ("batch_size", "4"),
            ("learning_rate", "0.002"),
            ("weight_decay", "0.01"),
            ("caption", CAPTION),
            $($more),*
        ]
    };
}

/// What Textual Inversion says of itself.
pub const DECLARATION: Declaration = Declaration {
    name: "textual_inversion",
    title: "Textual Inversion",
    about: "the vectors of one new word, everything else frozen (arXiv 2208.01618)",
    settings: Settings::ROWS,
    presets: &[
        Preset {
            name: "default",
            doc: "as in the README of diffusers' script, with photos cut to a square",
            train: of_script!(),
            sample: &[],
            score: &[("clip_text", "class_word")],
        },
        Preset {
            name: "diffusers",
            doc: "what diffusers' script does",
            train: of_script!(("crop", "squash"), ("photo_repeats", "100")),
            sample: &[("steps", "50"), ("guidance_scale", "7.5")],
            score: &[("clip_text", "scene")],
        },
    ],
    formats: &[
        Format {
            name: EMBEDDING,
            import: Some(
                "Make a run of a word's embedding, as diffusers and web UIs write it.\n\n\
                 The run is finished from the start: `catbench sample --run` and `catbench score --run` use it like any other, and \
                 {concept} in prompts is that word. It records where the file was and its SHA-256. The concept's base model has to be \
                 of the kind the embedding was trained on.",
            ),
            export: "Write the word that a run has learned as a .safetensors file for web UIs.\n\n\
                 Web UIs call the word as the file is called. diffusers' `load_textual_inversion` reads the same file, and calls it \
                 <CONCEPT>.",
            file: "{concept}.safetensors",
        },
        Format {
            name: DIFFUSERS,
            import: None,
            export: "Write the word that a run has learned as a .safetensors file for diffusers' `load_textual_inversion`.",
            file: "learned_embeds.safetensors",
        },
    ],
};
