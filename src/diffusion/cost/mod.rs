//! What a base model costs, from its configs and the headers of its weights alone: parameters, peak memory, arithmetic.
//!
//! Memory is counted, not fitted: [`walk`] makes every step of the networks on values that are known only by their sizes.

mod meter;
mod walk;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use self::meter::{Meter, Numbers, Tape, Value, concat_channels};
use candle_core::Tensor;

use super::compute::{Compute, batches_at_once};
use super::error::Result;
use super::kernels::{Mat, gemm};
use super::look::looks_at_once;
use super::unet::Config as UNetConfig;
use super::vae::{Config as VaeConfig, Vae};
use super::weights::Weights;
use super::{Embedding, ModelFiles, Schedule, Tokenizer, text_encoder};
use crate::protocol::{DeviceName, FloatType, ModelSpec, PartReport};

/// Pictures that are counted with: no machine holds more, and sizes stay within 64 bits.
const MOST: usize = 1 << 20;

/// A base model as its configs and the headers of its weights describe it.
pub struct Outline {
    /// What is loaded.
    pub parts: Vec<PartReport>,
    /// What reads texts.
    pub texts: Vec<TextOutline>,
    /// The noise schedule.
    pub schedule: Schedule,
    numbers: Numbers,
    unet: UNetConfig,
    vae: VaeConfig,
    /// Numbers in the two halves of the VAE; at most one half is in memory.
    encoder: usize,
    decoder: usize,
}

/// A text encoder as its config describes it.
pub struct TextOutline {
    /// Words to ids.
    pub tokenizer: Tokenizer,
    config: text_encoder::Config,
    /// Vectors that files of words have added to its vocabulary.
    added: usize,
}

/// What of the texts a training step reads anew, because it depends on what is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextsRead {
    /// Different texts.
    pub texts: usize,
    /// The first layer of the text encoder that does.
    pub first_layer: usize,
}

impl TextOutline {
    /// Its layers.
    pub fn layers(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// D, the width of a token.
    pub fn width(&self) -> usize {
        self.config.hidden_size
    }

    /// Tokens of a prompt, padding included.
    pub fn length(&self) -> usize {
        self.config.max_position_embeddings
    }

    /// The ids of a word of `count` vectors that is put behind the vocabulary.
    pub fn ids_behind(&self, count: usize) -> Range<u32> {
        let first = (self.config.vocab_size + self.added) as u32;
        first..first + count as u32
    }
}

/// What one piece of work takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Bytes at the highest point, beside the weights.
    pub peak_bytes: u64,
    /// Floating point operations in matrix products.
    pub flops: f64,
    /// Bytes that are written on the way.
    pub written: u64,
}

/// How fast this machine is at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Floating point operations a second in matrix products.
    pub flops: f64,
    /// Bytes a second that are written and read again.
    pub bytes: f64,
}

impl Outline {
    /// Read the configs, headers and tokenizer of the base model `spec`.
    ///
    /// # Errors
    /// All that would keep the model from being used.
    pub fn read(spec: &ModelSpec) -> Result<Self> {
        let files = ModelFiles::open(spec)?;
        files.check()?;
        let texts = files.texts.iter().map(|text| {
            let config = text_encoder::Config::load(&text.part)?;
            Ok(TextOutline { tokenizer: text.tokenizer(config.max_position_embeddings)?, config, added: 0 })
        });
        let texts = texts.collect::<Result<_>>()?;
        Ok(Self {
            parts: files.audit().parts,
            schedule: files.schedule()?,
            numbers: Numbers::CPU,
            texts,
            unet: UNetConfig::load(&files.unet)?,
            vae: VaeConfig::load(&files.vae)?,
            encoder: files.vae.count(|part| Vae::open(part)?.encoder())?,
            decoder: files.vae.count(|part| Vae::open(part)?.decoder())?,
        })
    }

    /// The same model to be computed by `device` in `dtype`.
    #[must_use]
    pub fn on(self, device: DeviceName, dtype: FloatType) -> Self {
        let kernels = (device, dtype) == (DeviceName::Cpu, FloatType::F32);
        let cudnn = cfg!(feature = "cudnn") && matches!(device, DeviceName::Cuda(_));
        Self { numbers: Numbers { size: dtype.size(), tensor_operations: !kernels, cudnn }, ..self }
    }

    /// Learn the word of `embedding`.
    pub fn add_word(&mut self, embedding: &Embedding) -> Result<()> {
        for text in &mut self.texts {
            embedding.check_width(text.width())?;
            let first = text.config.vocab_size + text.added;
            text.added += embedding.count();
            text.tokenizer.add_word(&embedding.token, first..first + embedding.count(), &embedding.path)?;
        }
        Ok(())
    }

    /// Width and height of its pictures, in pixels.
    pub fn resolution(&self) -> usize {
        self.unet.sample_size * self.vae.factor()
    }

    /// Bytes of the weights that stay in memory: all but the VAE.
    pub fn weights_bytes(&self) -> u64 {
        let staying = self.parts.iter().filter(|part| part.name != "vae");
        staying.map(|part| part.parameters as u64 * self.numbers.size).sum()
    }

    /// One training step: forward and backward through the text encoders and through the UNet on `batch` latents of its own size.
    pub fn training_step(&self, batch: usize, gradient_checkpointing: bool, read: TextsRead) -> Cost {
        self.training_step_at(self.unet.sample_size, batch, gradient_checkpointing, read)
    }

    /// The same on latents of `side` × `side`.
    pub fn training_step_at(&self, side: usize, batch: usize, gradient_checkpointing: bool, read: TextsRead) -> Cost {
        let batch = batch.min(MOST);
        self.measure(|meter| {
            let tape = Tape::default();
            let hidden = self.texts.iter().map(|TextOutline { config, .. }| {
                let read_in = meter.constant(&[read.texts, config.max_position_embeddings, config.hidden_size]);
                walk::text_encoder(config, read.first_layer, &tape.leaf(&read_in))
            });
            let context = hidden.reduce(|all, hidden| concat_channels(&all, &hidden));
            let context = context.unwrap_or_else(|| self.context(meter, 1));
            let output = walk::unet(&self.unet, meter, (batch, side, side), &context, gradient_checkpointing);
            tape.backward(&output);
            output
        })
    }

    /// One pass of the UNet without a gradient on `batch` latents, each with its own text.
    pub fn denoising_step(&self, batch: usize) -> Cost {
        let (side, batch) = (self.unet.sample_size, batch.min(MOST));
        self.measure(|meter| walk::unet(&self.unet, meter, (batch, side, side), &self.context(meter, batch), false))
    }

    /// The same for `at_once` batches side by side while pictures are made, with the decoder in memory.
    pub fn picture_step(&self, batch: usize, at_once: usize) -> Cost {
        self.holding(self.decoder, self.denoising_step(batch).side_by_side(at_once))
    }

    /// How many of `batches`, each of `pictures` (both branches counted), are denoised at once.
    pub fn batches_at_once(&self, pictures: usize, batches: usize) -> usize {
        let activation = self.unet.activation().saturating_mul(pictures);
        batches_at_once(!self.numbers.tensor_operations, activation, batches)
    }

    /// The looks at a picture that go through the UNet together, of `looks` in all: without a gradient, with the encoder in memory.
    pub fn looking_step(&self, looks: usize) -> Cost {
        self.holding(self.encoder, self.denoising_step(looks.min(looks_at_once(self.unet.activation()))))
    }

    /// `cost` of making pictures, `at_once` batches side by side, beside the encoder that their masks need.
    pub fn beside_encoder(&self, cost: Cost) -> Cost {
        self.holding(self.encoder, cost)
    }

    /// The same for `at_once` pictures side by side while pictures are made, with the decoder in memory too.
    pub fn looking_beside_decoder(&self, looks: usize, at_once: usize) -> Cost {
        let looks = looks.min(looks_at_once(self.unet.activation()));
        let cost = self.denoising_step(looks).side_by_side(at_once);
        self.holding(self.encoder, self.holding(self.decoder, cost))
    }

    /// Latents of `batch` pictures, with the encoder in memory.
    pub fn encoding_beside_unet(&self, batch: usize) -> Cost {
        let cost = self.measure(|meter| walk::vae_encode(&self.vae, meter, batch.min(MOST), self.resolution()));
        self.holding(self.encoder, cost)
    }

    /// The same with not yet the UNet in memory.
    pub fn encoding(&self, batch: usize) -> Cost {
        let cost = self.encoding_beside_unet(batch);
        let unet: usize = self.parts.iter().filter(|part| part.name == "unet").map(|part| part.parameters).sum();
        Cost { peak_bytes: cost.peak_bytes.saturating_sub(unet as u64 * self.numbers.size), ..cost }
    }

    /// `at_once` pictures of their latents, with the decoder in memory.
    pub fn decoding(&self, at_once: usize) -> Cost {
        let cost = self.measure(|meter| walk::vae_decode(&self.vae, meter, 1, self.unet.sample_size));
        self.holding(self.decoder, cost.side_by_side(at_once))
    }

    /// `cost` with `parameters` more weights in memory.
    fn holding(&self, parameters: usize, cost: Cost) -> Cost {
        Cost { peak_bytes: cost.peak_bytes + parameters as u64 * self.numbers.size, ..cost }
    }

    fn measure(&self, work: impl FnOnce(&Meter) -> Value) -> Cost {
        let meter = Meter::new(self.numbers);
        drop(work(&meter));
        Cost { peak_bytes: meter.peak(), flops: meter.flops(), written: meter.written() }
    }

    fn context(&self, meter: &Meter, batch: usize) -> Value {
        let length = self.texts.first().map_or(0, TextOutline::length);
        meter.constant(&[batch, length, self.texts.iter().map(TextOutline::width).sum()])
    }
}

/// What the weights in `folder` are, as the part `name`.
pub fn part_of(folder: &Path, name: &str) -> Result<PartReport> {
    let weights = Weights::open(folder)?;
    let mut part = PartReport { name: name.into(), path: folder.into(), parameters: 0, bytes: 0, types: Vec::new() };
    for (_, info) in weights.opened().iter().flat_map(|file| file.tensors()) {
        part.parameters += info.elements();
        part.bytes += info.elements() * info.dtype.map_or(0, |dtype| dtype.size_in_bytes());
        if !part.types.contains(&info.type_name) {
            part.types.push(info.type_name.clone());
        }
    }
    Ok(part)
}

impl Cost {
    /// `count` of it at the same time, which all together take as long as `count` one after the other.
    fn side_by_side(self, count: usize) -> Self {
        Self {
            peak_bytes: self.peak_bytes.saturating_mul(count as u64),
            flops: self.flops * count as f64,
            written: self.written.saturating_mul(count as u64),
        }
    }

    /// Seconds at `speed`: the matrix products, and what passes through memory.
    pub fn seconds(&self, speed: Speed) -> f64 {
        self.flops / speed.flops + self.written as f64 / speed.bytes
    }
}

/// How long each thing is tried.
const TRY: Duration = Duration::from_millis(100);

impl Speed {
    /// Try it: for about a fifth of a second, products of the size that a UNet's middle has, and copies.
    pub fn measure(compute: &Compute) -> Result<Self> {
        if compute.is_by_kernels() {
            return Ok(Self::of_kernels());
        }
        // On a card that others have filled, with less: it is told what is short only after this.
        let mut numbers = 1 << 24;
        loop {
            match Self::of_tensor_operations(compute, numbers) {
                Err(_) if numbers > 1 << 14 => numbers /= 4,
                measured => return Ok(measured?),
            }
        }
    }

    /// Time copies of `numbers` numbers, and products of square matrices: of 1024 × 1024, or smaller if these have more numbers.
    fn of_tensor_operations(compute: &Compute, numbers: usize) -> candle_core::Result<Self> {
        let (device, side) = (compute.device(), numbers.isqrt().min(1024));
        let tensor = |shape: &[usize]| Tensor::zeros(shape, compute.dtype(), device);
        let (matrix, source) = (tensor(&[side, side])?, tensor(&[numbers])?);
        // Once before it counts: a graphics card loads its code then.
        let try_it = |f: &dyn Fn() -> candle_core::Result<Tensor>| {
            f()?;
            device.synchronize()?;
            let mut done = Ok(());
            let seconds = fastest(TRY, || {
                if done.is_ok() {
                    done = f().and_then(|_| device.synchronize());
                }
            });
            done.map(|()| seconds)
        };
        let product = try_it(&|| matrix.matmul(&matrix))?;
        let copy = try_it(&|| source.affine(1.0, 1.0))?;
        let bytes = source.elem_count() * compute.dtype().size_in_bytes();
        Ok(Self { flops: 2.0 * (side as f64).powi(3) / product, bytes: bytes as f64 / copy })
    }

    fn of_kernels() -> Self {
        const SIDE: usize = 768;
        let (a, b, mut c) = (vec![0.5f32; SIDE * SIDE], vec![0.5f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        let product = fastest(TRY, || {
            gemm(&mut c, SIDE, false, Mat::new(&a, SIDE, SIDE), Mat::new(&b, SIDE, SIDE), 1.0, true);
        });
        // Larger than the caches, and allocated anew each time as the operations do.
        let source = vec![0.5f32; 1 << 23];
        let copy = fastest(TRY, || drop(std::hint::black_box(source.clone())));
        Self { flops: 2.0 * (SIDE as f64).powi(3) / product, bytes: (4 * source.len()) as f64 / copy }
    }
}

/// Seconds of the fastest call of `f` among those that fit into `time`.
fn fastest(time: Duration, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < time {
        let begin = Instant::now();
        f();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    best.max(1e-9)
}
