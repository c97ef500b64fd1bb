//! Latent diffusion (Rombach et al. 2022, arXiv 2112.10752): the frozen base model and all its parts, exactly
//! differentiable where methods need it.
//!
//! | file | what it holds |
//! |---|---|
//! | `text_encoder` | CLIP's text transformer, with learned rows and words in it |
//! | `conditioning` | what the denoiser is told, by one or more text encoders |
//! | `unet/` | the denoiser |
//! | `vae` | pictures ↔ latents |
//! | `scheduler` | noise schedule |
//! | `samplers/` | from noise to latents in few steps: DDIM, PNDM, Euler, DPM++, UniPC |
//! | `sampler` | guided denoising |
//! | `look` | what the denoiser's attention sees in a finished picture |
//! | `tape` | reverse-mode differentiation |
//! | `ops/` | the operations, forward and backward: by CPU kernels, by candle's tensor operations |
//! | `kernels/` | the CPU kernels |
//! | `compute` | where a model computes, and in which numbers |
//! | `transfer` | numbers to and from a graphics card, which goes on meanwhile |
//! | `cost/` | what all that takes, before it is done |
//! | `embedding` | words that files add |
//! | `files`, `check`, `hash` | the files of a model, whatever their form: what is wrong with them, what they are |
//! | `original`, `infer` | files in the original naming: names, and the configs they lack |
//! | `tensor_file/`, `weights` | files of tensors, and the tensors of one part of a model by name |
//! | `tokenizer`, `prompt_weights` | words, and how much each counts |
//! | `noise`, `torch_noise` | random numbers, our own and torch's |
//! | `pixels` | pictures |

mod check;
mod clip_merges;
mod compute;
mod conditioning;
mod cost;
mod embedding;
mod error;
mod files;
mod finite;
mod hash;
mod infer;
mod kernels;
mod look;
mod noise;
pub(crate) mod ops;
mod original;
mod other_syntax;
mod pixels;
mod prompt_weights;
mod resnet;
mod sampler;
mod samplers;
mod scheduler;
mod tape;
mod tensor_file;
mod text_encoder;
mod tokenizer;
mod torch_noise;
mod transfer;
mod unet;
mod vae;
mod weights;

use std::path::Path;

pub use check::check;
pub use compute::{Compute, Threads};
pub use conditioning::{BegunTexts, Conditioning, LearnedWord, TextModel, TokenIds};
pub use cost::{Cost, Outline, Speed, TextOutline, TextsRead, part_of};
pub use embedding::Embedding;
pub use error::{Error, Result};
pub use files::ModelFiles;
pub use finite::{check_finite, finite_flag, is_finite};
pub(crate) use kernels::AttnMask;
pub use look::{Looking, Looks};
pub use noise::{Noise, PictureNoise, Stream};
pub use other_syntax::other_syntax;
pub use pixels::{to_images, to_tensor};
pub use prompt_weights::{Piece, emphasize, pieces};
pub use sampler::{Denoising, Texts, denoise};
pub use samplers::Solver;
pub use scheduler::{PredictionType, Schedule};
pub use tape::{Gradients, Tape, Tracked};
pub use tensor_file::{TensorFile, TensorInfo, header};
pub use text_encoder::{Additions, PrefixLayer, TextEncoder};
pub use tokenizer::{Span, Tokenizer, Tokens, odd_text};
pub use torch_noise::TorchGenerator;
pub use transfer::{Coming, Transfers};
pub use unet::{CrossSeen, OwnSeen, Probe, UNet, UNetOptions};
pub use vae::{Decoder, Encoder, Vae};
pub(crate) use weights::Part;
pub use weights::{Scope, Weights};

use self::compute::batches_at_once;
use crate::protocol::ModelSpec;

/// A frozen text-to-image model (Stable Diffusion 1.x, 2.x and relatives).
pub struct BaseModel {
    /// What reads texts: one text encoder in Stable Diffusion 1.x and 2.x.
    pub texts: Vec<TextModel>,
    /// The denoiser.
    pub unet: UNet,
    /// Pictures ↔ latents.
    pub vae: Vae,
    /// The noise schedule.
    pub schedule: Schedule,
    /// SHA-256 of its content, in hexadecimal.
    pub hash: String,
    /// Where it computes.
    pub compute: Compute,
}

impl BaseModel {
    /// Read the model at `path`, a diffusers folder or one file, for the CPU, and hash it.
    pub fn load(path: &Path) -> Result<Self> {
        let files = ModelFiles::open(&ModelSpec::at(path))?;
        let hash = files.hash(&mut |_, _| {})?;
        Self::from_files(&files, hash, &Compute::cpu())
    }

    /// Read the model in `files`, whose content hash is `hash`, to compute by `compute`. Everything that is missing or
    /// misshapen is told before anything is read.
    pub fn from_files(files: &ModelFiles, hash: String, compute: &Compute) -> Result<Self> {
        files.check()?;
        let texts = files.texts.iter().map(|text| {
            let encoder = TextEncoder::load(&text.part.on(compute))?;
            Ok(TextModel { name: text.name.into(), tokenizer: text.tokenizer(encoder.max_length())?, encoder })
        });
        let texts = texts.collect::<Result<_>>()?;
        let (unet, vae) = (UNet::open(&files.unet.on(compute))?, Vae::open(&files.vae.on(compute))?);
        Ok(Self { texts, unet, vae, schedule: files.schedule()?, hash, compute: compute.clone() })
    }

    /// Width and height of the pictures it was trained on, in pixels.
    pub fn resolution(&self) -> usize {
        self.unet.sample_size() * self.vae.factor()
    }

    /// How many of `batches`, each of `pictures` (both branches counted), to denoise at once.
    pub fn batches_at_once(&self, pictures: usize, batches: usize) -> usize {
        batches_at_once(self.compute.is_by_kernels(), self.unet.activation().saturating_mul(pictures), batches)
    }

    /// Learn the word of `embedding`: prompts may use it from now on.
    pub fn add_word(&mut self, embedding: &Embedding) -> Result<()> {
        for TextModel { tokenizer, encoder, .. } in &mut self.texts {
            embedding.check_width(encoder.hidden_size())?;
            let first = encoder.add_rows(&embedding.vectors)?;
            tokenizer.add_word(&embedding.token, first..first + embedding.count(), &embedding.path)?;
        }
        Ok(())
    }

    /// The tokenizer that tells where words stand: of all text encoders' the first, as they cut words alike.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.texts[0].tokenizer
    }
}
