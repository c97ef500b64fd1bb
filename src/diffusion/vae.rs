//! The autoencoder between pictures and latents (diffusers' `AutoencoderKL`; Rombach et al. 2022, arXiv 2112.10752).
//! Our own rather than candle-transformers', which hands out only samples of the latent distribution, drawn from a
//! generator that cannot be seeded.

use candle_core::{DType, Tensor};
use serde::Deserialize;

use super::compute::Compute;
use super::error::{Error, Result};
use super::finite::check_finite;
use super::ops::{self, ConvWeights, LinearWeights, NormWeights};
use super::resnet::{Resnet, ResnetOptions};
use super::tape::Tracked;
use super::weights::{Part, Scope};

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub in_channels: usize,
    pub out_channels: usize,
    pub latent_channels: usize,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    norm_num_groups: usize,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    use_quant_conv: bool,
    use_post_quant_conv: bool,
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

/// Blocks; each but the last halves a picture: more would halve any to nothing.
const MOST_BLOCKS: usize = 16;

impl Config {
    pub fn load(part: &Part) -> Result<Self> {
        let config: Self = part.parse()?;
        let (channels, groups) = (&config.block_out_channels, config.norm_num_groups);
        if channels.is_empty() || groups == 0 || channels.iter().any(|c| c % groups != 0) {
            return Err(Error::Unsupported {
                path: part.path.clone(),
                setting: "block_out_channels".into(),
                value: format!("{channels:?}"),
                supported: format!("multiples of norm_num_groups {groups}"),
            });
        }
        let unsupported = |setting: &str, value: String, supported: &str| Error::Unsupported {
            path: part.path.clone(),
            setting: setting.into(),
            value,
            supported: supported.into(),
        };
        if channels.len() > MOST_BLOCKS {
            return Err(unsupported("block_out_channels", format!("{} blocks", channels.len()), "at most 16"));
        }
        if config.layers_per_block == 0 {
            return Err(unsupported("layers_per_block", "0".into(), "1 or more"));
        }
        if !(config.scaling_factor.is_finite() && config.scaling_factor > 0.0) {
            return Err(unsupported("scaling_factor", config.scaling_factor.to_string(), "above 0"));
        }
        Ok(config)
    }

    /// Pixels a latent, in each direction.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

const EPS: f64 = 1e-6;

/// Single-head self-attention over all pixels.
struct Attention {
    norm: NormWeights,
    q: LinearWeights,
    k: LinearWeights,
    v: LinearWeights,
    out: LinearWeights,
    groups: usize,
}

impl Attention {
    fn load(scope: &Scope<'_>, c: usize, groups: usize) -> Result<Self> {
        // Files from before diffusers 0.18 have the older names.
        let old = scope.has("query.weight");
        let linear = |new: &str, before: &str| scope.at(if old { before } else { new }).linear(c, c);
        Ok(Self {
            norm: scope.at("group_norm").norm(c, EPS)?,
            q: linear("to_q", "query")?,
            k: linear("to_k", "key")?,
            v: linear("to_v", "value")?,
            out: linear("to_out.0", "proj_attn")?,
            groups,
        })
    }

    fn forward(&self, x: &Tracked) -> candle_core::Result<Tracked> {
        let (b, height, width, c) = x.value().dims4()?;
        let h = ops::group_norm(x, &self.norm, self.groups, false)?;
        let tokens = |weights| ops::reshape(&ops::linear(&h, weights, None)?, &[b, height * width, c]);
        let attended = ops::attention(&tokens(&self.q)?, &tokens(&self.k)?, &tokens(&self.v)?, 1, None)?;
        ops::linear(&ops::reshape(&attended, &[b, height, width, c])?, &self.out, Some(x))
    }
}

struct Mid {
    first: Resnet,
    attention: Option<Attention>,
    last: Resnet,
}

impl Mid {
    fn load(scope: &Scope<'_>, c: usize, config: &Config, options: ResnetOptions) -> Result<Self> {
        Ok(Self {
            first: Resnet::load(&scope.at("resnets.0"), c, c, options)?,
            attention: config
                .mid_block_add_attention
                .then(|| Attention::load(&scope.at("attentions.0"), c, options.groups))
                .transpose()?,
            last: Resnet::load(&scope.at("resnets.1"), c, c, options)?,
        })
    }

    fn forward(&self, x: &Tracked) -> candle_core::Result<Tracked> {
        let mut h = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            h = attention.forward(&h)?;
        }
        self.last.forward(&h, None)
    }
}

struct Block {
    resnets: Vec<Resnet>,
    resample: Option<ConvWeights>,
}

struct Half {
    conv_in: ConvWeights,
    blocks: Vec<Block>,
    mid: Mid,
    norm_out: NormWeights,
    conv_out: ConvWeights,
    groups: usize,
}

impl Half {
    fn finish(&self, h: &Tracked) -> candle_core::Result<Tracked> {
        let h = ops::group_norm(h, &self.norm_out, self.groups, true)?;
        ops::conv2d(&h, &self.conv_out, None, None)
    }
}

/// Pictures [B, 3, H, W] in -1..1 ↔ latents [B, C, H / f, W / f]. Its halves are read when they are asked for: a training
/// needs the encoder only before its first step, and the decoder only for its sample pictures.
pub struct Vae {
    config: Config,
    part: Part,
}

/// Pictures to latents.
pub struct Encoder {
    half: Half,
    quant: Option<LinearWeights>,
    compute: Compute,
    latent_channels: usize,
    factor: usize,
}

/// Latents to pictures.
pub struct Decoder {
    half: Half,
    post_quant: Option<LinearWeights>,
    compute: Compute,
}

impl Vae {
    /// What its config says, and where its weights are.
    pub(crate) fn open(part: &Part) -> Result<Self> {
        Ok(Self { config: Config::load(part)?, part: part.clone() })
    }

    /// Both halves at once, for what only looks at them.
    pub(crate) fn load(part: &Part) -> Result<Self> {
        let vae = Self::open(part)?;
        vae.encoder()?;
        vae.decoder()?;
        Ok(vae)
    }

    fn resnets(&self) -> ResnetOptions {
        ResnetOptions { groups: self.config.norm_num_groups, eps: EPS, time_width: None }
    }

    /// Read the encoder.
    pub fn encoder(&self) -> Result<Encoder> {
        let channels = &self.config.block_out_channels;
        let (groups, options, weights) = (self.config.norm_num_groups, self.resnets(), &self.part.weights);
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let latent = self.config.latent_channels;
        let scope = weights.at("encoder");
        let mut blocks = Vec::new();
        for (i, &out) in channels.iter().enumerate() {
            let scope = scope.at("down_blocks").at(i);
            let inner = channels[i.saturating_sub(1)];
            let resnets = (0..self.config.layers_per_block)
                .map(|j| Resnet::load(&scope.at("resnets").at(j), if j == 0 { inner } else { out }, out, options))
                .collect::<Result<_>>()?;
            // Padded by one zero row and column at the end only.
            let resample = (i + 1 < channels.len())
                .then(|| scope.at("downsamplers.0.conv").conv(out, out, 3, 2, 0))
                .transpose()?
                .map(|conv| ConvWeights { pad_after: 1, ..conv });
            blocks.push(Block { resnets, resample });
        }
        let half = Half {
            conv_in: scope.at("conv_in").conv(self.config.in_channels, first, 3, 1, 1)?,
            blocks,
            mid: Mid::load(&scope.at("mid_block"), last, &self.config, options)?,
            norm_out: scope.at("conv_norm_out").norm(last, EPS)?,
            conv_out: scope.at("conv_out").conv(last, 2 * latent, 3, 1, 1)?,
            groups,
        };
        let quant = weights.at("quant_conv");
        let quant = self.config.use_quant_conv.then(|| quant.pointwise_conv(2 * latent, 2 * latent)).transpose()?;
        let compute = weights.compute().clone();
        Ok(Encoder { half, quant, compute, latent_channels: latent, factor: self.factor() })
    }

    /// Read the decoder.
    pub fn decoder(&self) -> Result<Decoder> {
        let channels = &self.config.block_out_channels;
        let (groups, options, weights) = (self.config.norm_num_groups, self.resnets(), &self.part.weights);
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let latent = self.config.latent_channels;
        let scope = weights.at("decoder");
        let mut blocks = Vec::new();
        for (i, &out) in channels.iter().rev().enumerate() {
            let scope = scope.at("up_blocks").at(i);
            let inner = if i == 0 { last } else { channels[channels.len() - i] };
            let resnets = (0..=self.config.layers_per_block)
                .map(|j| Resnet::load(&scope.at("resnets").at(j), if j == 0 { inner } else { out }, out, options))
                .collect::<Result<_>>()?;
            let resample =
                (i + 1 < channels.len()).then(|| scope.at("upsamplers.0.conv").conv(out, out, 3, 1, 1)).transpose()?;
            blocks.push(Block { resnets, resample });
        }
        let half = Half {
            conv_in: scope.at("conv_in").conv(latent, last, 3, 1, 1)?,
            blocks,
            mid: Mid::load(&scope.at("mid_block"), last, &self.config, options)?,
            norm_out: scope.at("conv_norm_out").norm(first, EPS)?,
            conv_out: scope.at("conv_out").conv(first, self.config.out_channels, 3, 1, 1)?,
            groups,
        };
        let post_quant = weights.at("post_quant_conv");
        let post_quant =
            self.config.use_post_quant_conv.then(|| post_quant.pointwise_conv(latent, latent)).transpose()?;
        Ok(Decoder { half, post_quant, compute: weights.compute().clone() })
    }

    /// Pixels a latent, in each direction.
    pub fn factor(&self) -> usize {
        self.config.factor()
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        self.config.latent_channels
    }

    /// What the UNet works on: (latents - shift) · factor.
    pub fn scale(&self, latents: &Tensor) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        Ok(latents.affine(self.config.scaling_factor, -shift * self.config.scaling_factor)?)
    }

    /// The inverse of [`scale`](Self::scale).
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.affine(1.0 / self.config.scaling_factor, self.config.shift_factor.unwrap_or(0.0))?)
    }
}

impl Encoder {
    /// Mean and standard deviation of the unscaled latents, each float32 [B, C, H / f, W / f], of pictures [B, 3, H, W] in
    /// -1..1.
    pub fn encode(&self, pixels: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, _, height, width) = pixels.dims4()?;
        let factor = self.factor;
        if height % factor != 0 || width % factor != 0 {
            return Err(Error::Setting(format!("a picture of {width} × {height}: must be multiples of {factor}")));
        }
        let moments = self.encode_moments(pixels)?;
        check_finite(&moments, || "the VAE's encoder".into())?;
        let mean = moments.narrow(1, 0, self.latent_channels)?.contiguous()?;
        let logvar = moments.narrow(1, self.latent_channels, self.latent_channels)?;
        let std = logvar.clamp(-30f32, 20f32)?.affine(0.5, 0.0)?.exp()?.contiguous()?;
        Ok((mean, std))
    }

    fn encode_moments(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let x: Tracked = self.compute.input(pixels)?.permute((0, 2, 3, 1))?.contiguous()?.into();
        let mut h = ops::conv2d(&x, &self.half.conv_in, None, None)?;
        for block in &self.half.blocks {
            for resnet in &block.resnets {
                h = resnet.forward(&h, None)?;
            }
            if let Some(conv) = &block.resample {
                h = ops::conv2d(&h, conv, None, None)?;
            }
        }
        h = self.half.finish(&self.half.mid.forward(&h)?)?;
        if let Some(quant) = &self.quant {
            h = ops::linear(&h, quant, None)?;
        }
        ops::channels_first(&h)?.value().to_dtype(DType::F32)
    }
}

impl Decoder {
    /// Pictures, float32 [B, 3, H, W], about -1..1, of unscaled latents [B, C, H / f, W / f].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let x: Tracked = self.compute.input(latents)?.permute((0, 2, 3, 1))?.contiguous()?.into();
        let x = match &self.post_quant {
            Some(post_quant) => ops::linear(&x, post_quant, None)?,
            None => x,
        };
        let h = ops::conv2d(&x, &self.half.conv_in, None, None)?;
        let mut h = self.half.mid.forward(&h)?;
        for block in &self.half.blocks {
            for resnet in &block.resnets {
                h = resnet.forward(&h, None)?;
            }
            if let Some(conv) = &block.resample {
                h = ops::conv2d(&ops::upsample2(&h)?, conv, None, None)?;
            }
        }
        Ok(ops::channels_first(&self.half.finish(&h)?)?.value().to_dtype(DType::F32)?)
    }
}
