//! Textual-inversion embeddings (Gal et al. 2022, arXiv 2208.01618): vectors that stand for one new word, as diffusers and
//! the AUTOMATIC1111 web UI write them.
//!
//! | form | tensors | its word |
//! |---|---|---|
//! | diffusers | `{"<word>": [D] or [n, D]}` | the name |
//! | web UI, `.pt` | `{"string_to_param": {"*": [n, D]}, "name": "word", ..}` | `name` |
//! | web UI, `.safetensors` | `{"emb_params": [n, D]}` | the name of the file |

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::error::{Error, Result};
use super::tensor_file::TensorFile;

/// A word and what it means to the text encoder.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// The word, as prompts have it. Upper and lower case are the same.
    pub token: String,
    /// [n, D]: one token position each, in order.
    pub vectors: Tensor,
    /// The file it is from.
    pub path: PathBuf,
}

impl Embedding {
    /// Read the file at `path`; its word is `token`, or as the file says.
    pub fn read(path: &Path, token: Option<&str>) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
        let wrong = |cause: String| Error::Format { path: path.to_owned(), cause };
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let of_web_ui = names.iter().find(|name| name.starts_with("string_to_param."));
        let (name, own) = match (of_web_ui, names.as_slice()) {
            (Some(name), _) => (name, file.text("name").map_or_else(stem, str::to_owned)),
            (None, [name]) if name == "emb_params" => (name, stem()),
            (None, [name]) => (name, name.clone()),
            (None, []) => return Err(wrong("holds no tensors: not an embedding".into())),
            (None, [name, ..]) if ["clip_l", "clip_g"].contains(&name.as_str()) => {
                return Err(wrong(
                    "is an embedding for SDXL, whose two text encoders this program does not have".into(),
                ));
            }
            (None, names) => {
                let cause = format!("holds {} tensors ({}, ..): not the embedding of one word", names.len(), names[0]);
                return Err(wrong(cause));
            }
        };
        let token = token.map_or(own, str::to_owned).trim().to_owned();
        if token.is_empty() || token.contains(char::is_whitespace) {
            let cause = format!("its word {token:?} is empty or has spaces: name another with FILE=WORD");
            return Err(wrong(cause));
        }
        let tensor = file.tensor(name)?;
        let vectors = match tensor.dims() {
            [width] => tensor.reshape((1, *width))?,
            [_, _] => tensor,
            dims => return Err(wrong(format!("tensor {name} is {dims:?}; an embedding is [D] or [n, D]"))),
        };
        let (count, width) = vectors.dims2()?;
        if count == 0 || width == 0 {
            return Err(wrong(format!("tensor {name} is empty")));
        }
        if vectors.flatten_all()?.to_vec1::<f32>()?.iter().any(|x| !x.is_finite()) {
            return Err(wrong(format!("tensor {name} holds numbers that are not finite")));
        }
        Ok(Self { token, vectors, path: path.to_owned() })
    }

    /// n, the token positions it takes.
    pub fn count(&self) -> usize {
        self.vectors.dims()[0]
    }

    /// Refuse an embedding for another text encoder than one of `width`.
    pub(crate) fn check_width(&self, width: usize) -> Result<()> {
        let own = self.vectors.dims()[1];
        if own == width {
            return Ok(());
        }
        let cause = format!(
            "is an embedding of width {own}, this base model's text encoder has width {width}: use one made for this kind \
             of base model (768: Stable Diffusion 1.x, 1024: 2.x)"
        );
        Err(Error::Format { path: self.path.clone(), cause })
    }
}
