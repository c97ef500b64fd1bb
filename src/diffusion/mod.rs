//! Latent diffusion (Rombach et al. 2022, arXiv 2112.10752): the frozen base model and all its parts, exactly
//! differentiable where CatVersion needs it.
//!
//! | file | what it holds |
//! |---|---|
//! | `text_encoder` | CLIP's text transformer with concatenated keys and values |
//! | `unet/` | the denoiser |
//! | `vae` | pictures ↔ latents |
//! | `scheduler` | noise schedule, DDIM |
//! | `sampler` | guided denoising, attention masks |
//! | `tape` | reverse-mode differentiation |
//! | `ops` | the operations, forward and backward |
//! | `kernels/` | their CPU code |
//! | `cost/` | what all that takes, before it is done |
//! | `embedding` | textual-inversion embeddings: words that files add |
//! | `tensor_file/`, `weights` | files of tensors, and the tensors of one part of a model by name |
//! | `tokenizer`, `noise`, `pixels` | words, random numbers, pictures |

mod cost;
mod embedding;
mod error;
mod kernels;
mod noise;
mod ops;
mod pixels;
mod resnet;
mod sampler;
mod scheduler;
mod tape;
mod tensor_file;
mod text_encoder;
mod tokenizer;
mod unet;
mod vae;
mod weights;

use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

pub use cost::{Cost, Outline, Speed, part_of};
pub use embedding::Embedding;
pub use error::{Error, Result};
pub use noise::{Noise, Stream};
pub use pixels::{to_images, to_tensor};
pub use sampler::{Denoising, Latents, attention_mask, denoise};
pub use scheduler::{Ddim, PredictionType, Schedule};
pub use tape::{Gradients, Tape, Tracked};
pub use tensor_file::{TensorFile, TensorInfo};
pub use text_encoder::{Prefix, PrefixLayer, TextEncoder};
pub use tokenizer::{Tokenizer, Tokens};
pub use unet::{AttentionMaps, UNet, UNetOptions};
pub use vae::Vae;
pub use weights::Weights;

/// A frozen text-to-image model in a diffusers folder (Stable Diffusion 1.x, 2.x and relatives).
pub struct BaseModel {
    /// Words to ids.
    pub tokenizer: Tokenizer,
    /// Ids to the hidden state that the UNet reads.
    pub text_encoder: TextEncoder,
    /// The denoiser.
    pub unet: UNet,
    /// Pictures ↔ latents.
    pub vae: Vae,
    /// The noise schedule.
    pub schedule: Schedule,
    /// SHA-256 of all its weights and configs, in hexadecimal.
    pub hash: String,
}

impl BaseModel {
    /// Read a diffusers folder: `tokenizer/`, `text_encoder/`, `unet/`, `vae/`, `scheduler/`.
    pub fn load(folder: &Path) -> Result<Self> {
        let text_encoder = TextEncoder::load(&folder.join("text_encoder"))?;
        let tokenizer = Tokenizer::load(&folder.join("tokenizer"), text_encoder.max_length())?;
        let unet = UNet::load(&folder.join("unet"))?;
        let vae = Vae::load(&folder.join("vae"))?;
        let mismatch = |cause: String| Error::Format { path: folder.to_owned(), cause };
        if unet.cross_attention_dim() != text_encoder.hidden_size() {
            let (unet, text) = (unet.cross_attention_dim(), text_encoder.hidden_size());
            return Err(mismatch(format!("its UNet reads text of width {unet}, its text encoder writes {text}")));
        }
        if unet.in_channels() != vae.latent_channels() {
            let (unet, vae) = (unet.in_channels(), vae.latent_channels());
            return Err(mismatch(format!(
                "its UNet takes {unet} channels, its VAE makes {vae}; inpainting models are not supported"
            )));
        }
        let schedule = Schedule::load(&folder.join("scheduler"))?;
        Ok(Self { tokenizer, text_encoder, unet, vae, schedule, hash: content_hash(folder)? })
    }

    /// Width and height of the pictures it was trained on, in pixels.
    pub fn resolution(&self) -> usize {
        self.unet.sample_size() * self.vae.factor()
    }

    /// Learn the word of `embedding`: prompts may use it from now on.
    pub fn add_word(&mut self, embedding: &Embedding) -> Result<()> {
        embedding.check_width(self.text_encoder.hidden_size())?;
        let first = self.text_encoder.add_rows(&embedding.vectors)?;
        self.tokenizer.add_word(&embedding.token, first..first + embedding.count(), &embedding.path)
    }

    /// Token ids [1, T] of a prompt, cut or padded to the model's length.
    pub fn token_ids(&self, prompt: &str) -> Result<Tensor> {
        let ids = self.tokenizer.tokens(prompt)?.ids;
        let length = ids.len();
        Ok(Tensor::from_vec(ids, (1, length), &Device::Cpu)?)
    }
}

/// SHA-256 over the names and contents of the files that make the model what it is.
pub fn content_hash(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for (part, config) in [
        ("scheduler", "scheduler_config.json"),
        ("text_encoder", "config.json"),
        ("unet", "config.json"),
        ("vae", "config.json"),
    ] {
        files.push(folder.join(part).join(config));
        if part != "scheduler" {
            files.extend(Weights::files(&folder.join(part))?);
        }
    }
    for name in ["tokenizer.json", "vocab.json", "merges.txt"] {
        let path = folder.join("tokenizer").join(name);
        if path.is_file() {
            files.push(path);
        }
    }
    let mut hash = Sha256::new();
    for path in files {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        let read = |source| Error::Read { path: path.clone(), source };
        let mut file = std::fs::File::open(&path).map_err(read)?;
        hash.update(file.metadata().map_err(read)?.len().to_le_bytes());
        io::copy(&mut file, &mut hash).map_err(read)?;
    }
    Ok(format!("{:x}", hash.finalize()))
}
