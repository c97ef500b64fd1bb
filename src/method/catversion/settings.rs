//! The settings of CatVersion (section 3 of the paper, and the released code), and what it says of itself.

use crate::protocol::{Declaration, Format, Kind, Preset, Range, settings, words};

words! {
    /// Where the residual embeddings start.
    pub enum Init {
        /// The class word's own keys and values in each concatenated layer.
        ClassWord = "class_word",
        /// A standard normal draw.
        Normal = "normal",
    }
}

settings! {
    /// The settings that only CatVersion has.
    pub struct Settings {
        /// Learned rows put in front of the keys and values of each layer.
        prefix_length: usize = 1, Kind::Whole(1, 1024), short: Some("n");
        /// Concatenated layers of the text encoder, counted from 0, as in 9,10,11; the last three if none are named.
        layers: Option<Vec<usize>> = None, Kind::Ascending, unset: Some("the last three");
        /// Added to the prefix logits: 0 in the formula, 1 in the authors' code.
        prefix_bias: f32 = 0.0, Kind::Number(Range::Finite);
        /// Where the residual embeddings start: class_word takes the class word's own keys and values, normal a standard normal draw.
        init: Init = Init::ClassWord, Kind::Word(Init::WORDS);
    }
}

/// The file of the authors' released code.
pub const ADAPTER: &str = "adapter";
/// A file for diffusers, with its loader.
pub const DIFFUSERS: &str = "diffusers";

/// What CatVersion says of itself.
pub const DECLARATION: Declaration = Declaration {
    name: "catversion",
    title: "CatVersion",
    about: "rows in front of the keys and values of the text encoder's last self-attention layers (arXiv 2311.14631)",
    settings: Settings::ROWS,
    presets: &[
        Preset {
            name: "default",
            doc: "the paper's formula",
            train: &[],
            sample: &[],
            score: &[("clip_text", "class_word")],
        },
        Preset {
            name: "official",
            doc: "what the authors' code does",
            train: &[
                ("steps", "1000"),
                ("batch_size", "2"),
                ("learning_rate", "0.01"),
                ("prefix_bias", "1"),
                ("init", "normal"),
                ("caption", "{class}"),
                ("crop", "squash"),
                ("photo_repeats", "100"),
            ],
            sample: &[
                ("steps", "50"),
                ("guidance_scale", "10"),
                ("sampler", "ddim"),
                ("karras", "false"),
                ("eta", "0"),
                ("uncond_prefix", "false"),
                ("every_prompt", "true"),
            ],
            score: &[("clip_text", "scene")],
        },
    ],
    formats: &[
        Format {
            name: ADAPTER,
            import: Some(
                "Make a run of a pytorch_adapter.bin that the authors' released code wrote.\n\n\
                 The run is finished from the start: `catbench sample --run` and `catbench score --run` use it like any other. It \
                 records where the file was and its SHA-256. Its settings are those of the released code (preset `official`, with \
                 prefix_bias 1), because the file carries none. The concept's base model has to be of the kind the adapter was \
                 trained on; the class word is the concept's.",
            ),
            export: "Write a run as a pytorch_adapter.bin for the authors' released code.\n\n\
                 That code loads a folder, so its adapter_config.json is written beside the file. It always adds 1 to the attention \
                 logits of the learned rows. A run trained with another prefix_bias b is read there as if its strength were \
                 e^(1 - b): what is added is the same for every query, and no change of the keys is, so the file cannot make up for \
                 it. Train with `--prefix-bias 1` (or `--preset official`) for the same pictures in both programs. The format has \
                 room for one row in each of three layers.",
            file: "pytorch_adapter.bin",
        },
        Format {
            name: DIFFUSERS,
            import: None,
            export: "Write what a run has learned as a .safetensors file for diffusers.\n\n\
                 catversion_diffusers.py, which loads it there, is written beside it; its first lines say how it is used and what is \
                 in the file. With `--noise torch` the same seeds give the same pictures here.",
            file: "{concept}.safetensors",
        },
    ],
};
