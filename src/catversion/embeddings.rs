//! The residual embeddings: for each concatenated layer n rows of keys k* and n of values v* (section 3.2 of the paper).

use candle_core::{DType, Device, Tensor};

use super::error::{Error, Result};
use crate::diffusion::{BaseModel, Noise, Prefix, PrefixLayer, Stream, Tape, Tracked};

/// How far rows after the first start from the class word's own, in root mean squares of it.
const OTHER_ROWS: f32 = 0.1;

/// k* and v* of every concatenated layer, as one flat run of float32 in the order of the authors' files:
/// for each layer, bottom up, its keys [n, D], then its values [n, D]. They are on the device that trains them, or on the CPU.
#[derive(Debug, Clone)]
pub struct ResidualEmbeddings {
    layers: Vec<usize>,
    rows: usize,
    width: usize,
    numbers: Tensor,
}

impl ResidualEmbeddings {
    /// From the flat numbers; none when their count is not 2 · layers · rows · width.
    pub fn from_numbers(layers: Vec<usize>, rows: usize, width: usize, numbers: Vec<f32>) -> Option<Self> {
        let count = 2 * layers.len() * rows * width;
        let numbers = (numbers.len() == count).then(|| Tensor::from_vec(numbers, count, &Device::Cpu))?.ok()?;
        Some(Self { layers, rows, width, numbers })
    }

    /// A standard normal draw, as in the authors' code.
    pub fn normal(model: &BaseModel, layers: Vec<usize>, rows: usize, seed: u64) -> Result<Self> {
        let width = model.text_encoder.hidden_size();
        let count = 2 * layers.len() * rows * width;
        let numbers = Noise::new(seed, Stream::Init, 0).normal(&[count])?;
        Ok(Self { layers, rows, width, numbers })
    }

    /// The class word's own keys and values: of its last token in `caption`, in every layer. Rows after the first differ
    /// from it by a small normal draw: equal rows would get equal gradients and stay equal for ever.
    pub fn class_word(
        model: &BaseModel,
        layers: Vec<usize>,
        rows: usize,
        caption: &str,
        class_word: &str,
        seed: u64,
    ) -> Result<Self> {
        let Some(&position) = model.tokenizer.positions_of(caption, class_word)?.last() else {
            return Err(Error::Setting {
                setting: "caption",
                value: format!("\"{caption}\""),
                cause: format!("does not contain the class word \"{class_word}\", where the embeddings start"),
            });
        };
        let ids = model.token_ids(caption)?;
        let width = model.text_encoder.hidden_size();
        let mut noise = Noise::new(seed, Stream::Init, 0);
        let mut numbers = Vec::new();
        for &layer in &layers {
            let (keys, values) = model.text_encoder.keys_and_values(layer, &ids)?;
            for of_all in [keys, values] {
                let own: Vec<f32> = of_all.get(position)?.to_dtype(DType::F32)?.to_vec1()?;
                numbers.extend_from_slice(&own);
                let size = (own.iter().map(|x| x * x).sum::<f32>() / width as f32).sqrt();
                for _ in 1..rows {
                    let draw: Vec<f32> = noise.normal(&[width])?.to_vec1()?;
                    numbers.extend(own.iter().zip(draw).map(|(own, draw)| own + OTHER_ROWS * size * draw));
                }
            }
        }
        let numbers = Tensor::from_vec(numbers, 2 * layers.len() * rows * width, &Device::Cpu)?;
        Ok(Self { layers, rows, width, numbers })
    }

    /// The same numbers on `device`.
    pub fn on(&self, device: &Device) -> Result<Self> {
        self.with(&self.numbers.to_device(device)?)
    }

    /// The same layers with the flat `numbers`, as many as before.
    pub(super) fn with(&self, numbers: &Tensor) -> Result<Self> {
        Ok(Self { numbers: numbers.reshape(self.count())?, ..self.clone() })
    }

    /// How many numbers.
    pub fn count(&self) -> usize {
        2 * self.layers.len() * self.rows * self.width
    }

    /// Concatenated layers, bottom up.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// n, rows a layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// D, the text encoder's width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, flat, read from where they are.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        Ok(self.numbers.to_vec1()?)
    }

    /// All numbers, flat, where they are.
    pub(super) fn tensor(&self) -> &Tensor {
        &self.numbers
    }

    /// (layer, keys [n, D], values [n, D]), bottom up.
    pub fn tensors(&self) -> Result<Vec<(usize, Tensor, Tensor)>> {
        let part = self.rows * self.width;
        let tensor = |i: usize| self.numbers.narrow(0, i * part, part)?.reshape((self.rows, self.width));
        self.layers.iter().enumerate().map(|(i, &layer)| Ok((layer, tensor(2 * i)?, tensor(2 * i + 1)?))).collect()
    }

    /// As the text encoder takes them, for use without a gradient. `strength` adds its logarithm to the prefix logits.
    pub fn prefix(&self, prefix_bias: f32, strength: f32) -> Result<Prefix> {
        let bias = prefix_bias + strength.ln();
        let layers = self
            .tensors()?
            .into_iter()
            .map(|(layer, key, value)| PrefixLayer { layer, key: key.into(), value: value.into(), bias })
            .collect();
        Ok(Prefix { layers })
    }

    /// As the text encoder takes them, on a tape, and the leaves in the order of the flat numbers.
    pub fn tracked(&self, tape: &Tape, prefix_bias: f32) -> Result<(Prefix, Vec<Tracked>)> {
        let (mut layers, mut leaves) = (Vec::new(), Vec::new());
        for (layer, key, value) in self.tensors()? {
            let (key, value) = (tape.leaf(key), tape.leaf(value));
            leaves.extend([key.clone(), value.clone()]);
            layers.push(PrefixLayer { layer, key, value, bias: prefix_bias });
        }
        Ok((Prefix { layers }, leaves))
    }
}
