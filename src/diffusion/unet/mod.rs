//! `UNet2DConditionModel` of Stable Diffusion 1.x and 2.x (Rombach et al. 2022, arXiv 2112.10752), all sizes from its
//! config, weight names as in diffusers. Exactly differentiable with respect to the text; its weights are frozen.

mod config;
mod transformer;

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};

pub(super) use self::config::Config;
pub use self::transformer::{CrossSeen, OwnSeen, Probe};
use self::transformer::{Transformer, TransformerOptions};
use super::compute::Compute;
use super::conditioning::Conditioning;
use super::error::{Error, Result};
use super::ops::{self, ConvWeights, LinearWeights, NormWeights};
use super::resnet::{Resnet, ResnetOptions};
use super::tape::{Tape, Tracked, checkpoint};
use super::weights::{Part, Scope};

/// A residual block and the transformer behind it, if there is one.
#[derive(Clone)]
struct Layer {
    resnet: Resnet,
    transformer: Option<Transformer>,
}

impl Layer {
    fn forward(
        &self,
        x: &Tracked,
        time: &Tensor,
        context: &Tracked,
        options: &UNetOptions<'_>,
    ) -> candle_core::Result<Tracked> {
        if let Some(tape) = options.gradient_checkpointing.filter(|_| options.probe.is_none()) {
            let (layer, time) = (self.clone(), time.clone());
            return checkpoint(tape, &[x, context], move |inputs| layer.run(&inputs[0], &time, &inputs[1], None));
        }
        self.run(x, time, context, options.probe)
    }

    fn run(
        &self,
        x: &Tracked,
        time: &Tensor,
        context: &Tracked,
        probe: Option<&Probe>,
    ) -> candle_core::Result<Tracked> {
        let h = self.resnet.forward(x, Some(time))?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&h, context, probe),
            None => Ok(h),
        }
    }
}

struct Block {
    layers: Vec<Layer>,
    /// The strided convolution of a down block, the convolution after upsampling of an up block.
    resample: Option<ConvWeights>,
}

/// How a forward pass runs.
#[derive(Default, Clone, Copy)]
pub struct UNetOptions<'a> {
    /// Recompute each layer in the backward pass of this tape instead of keeping its activations.
    pub gradient_checkpointing: Option<&'a Tape>,
    /// Collect what attention sees.
    pub probe: Option<&'a Probe>,
}

/// The denoiser. It is read when it is first used: what comes before a training, above all photos to latents, then has its
/// memory.
pub struct UNet {
    config: Config,
    part: Part,
    network: OnceLock<Network>,
}

struct Network {
    config: Config,
    compute: Compute,
    conv_in: ConvWeights,
    time_linear1: LinearWeights,
    time_linear2: LinearWeights,
    down: Vec<Block>,
    mid_first: Layer,
    mid_last: Resnet,
    up: Vec<Block>,
    norm_out: NormWeights,
    conv_out: ConvWeights,
}

impl UNet {
    /// What its config says, and where its weights are.
    pub(crate) fn open(part: &Part) -> Result<Self> {
        Ok(Self { config: Config::load(part)?, part: part.clone(), network: OnceLock::new() })
    }

    /// The same with its weights.
    pub(crate) fn load(part: &Part) -> Result<Self> {
        let unet = Self::open(part)?;
        unet.read()?;
        Ok(unet)
    }

    /// Read its weights, unless that is done.
    pub fn read(&self) -> Result<()> {
        self.network().map(drop)
    }

    fn network(&self) -> Result<&Network> {
        if let Some(network) = self.network.get() {
            return Ok(network);
        }
        let network = Network::load(&self.part, self.config.clone())?;
        Ok(self.network.get_or_init(|| network))
    }

    /// Latent channels in.
    pub fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    /// Width of the text it reads.
    pub fn cross_attention_dim(&self) -> usize {
        self.config.cross_attention_dim
    }

    /// Height and width of the latents it was trained on.
    pub fn sample_size(&self) -> usize {
        self.config.sample_size
    }

    /// Numbers in its largest activation, for one picture.
    pub(crate) fn activation(&self) -> usize {
        self.config.activation()
    }

    /// How many times it halves the latents: their sides must be multiples of 2 to this.
    pub fn halvings(&self) -> usize {
        self.config.block_out_channels.len() - 1
    }

    /// The predicted noise (or velocity) [B, C, H, W], float32 whatever the weights are in, for latents [B, C, H, W], one timestep a sample
    /// (Karras noise levels lie between whole ones), and what is told of each or of all.
    ///
    /// # Errors
    /// Latents whose sides are no multiples, as many timesteps as there are no samples, a pooled vector or time ids, which this UNet does
    /// not take.
    pub fn forward(
        &self,
        latents: &Tensor,
        timesteps: &[impl Into<f64> + Copy],
        conditioning: &Conditioning,
        options: UNetOptions<'_>,
    ) -> Result<Tracked> {
        let (batch, _, height, width) = latents.dims4()?;
        let multiple = 1 << self.halvings();
        if height % multiple != 0 || width % multiple != 0 {
            return Err(Error::Setting(format!("latents of {height} × {width}: must be multiples of {multiple}")));
        }
        if timesteps.len() != batch {
            return Err(Error::Setting(format!("{} timesteps for a batch of {batch}", timesteps.len())));
        }
        if conditioning.pooled.is_some() || conditioning.time_ids.is_some() {
            return Err(Error::Setting(
                "this UNet takes the hidden states of texts, and no pooled vector or time ids".into(),
            ));
        }
        let timesteps: Vec<f32> = timesteps.iter().map(|&t| t.into() as f32).collect();
        Ok(self.network()?.run(latents, &timesteps, &conditioning.hidden, &options)?)
    }
}

impl Network {
    fn load(part: &Part, config: Config) -> Result<Self> {
        let root = part.weights.at("");
        let channels = config.block_out_channels.clone();
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let time_width = 4 * first;
        let resnets =
            ResnetOptions { groups: config.norm_num_groups, eps: config.norm_eps, time_width: Some(time_width) };
        let transformer = |scope: &Scope<'_>, block: usize| {
            let options = TransformerOptions {
                channels: channels[block],
                context: config.cross_attention_dim,
                heads: config.heads(block),
                layers: config.transformer_layers(block),
                groups: config.norm_num_groups,
                linear_projection: config.use_linear_projection,
                upcast: config.upcast_attention,
            };
            Transformer::load(scope, &options)
        };
        let layer = |scope: &Scope<'_>, i: usize, inner: usize, block: usize, attention: bool| {
            Ok::<_, Error>(Layer {
                resnet: Resnet::load(&scope.at("resnets").at(i), inner, channels[block], resnets)?,
                transformer: attention.then(|| transformer(&scope.at("attentions").at(i), block)).transpose()?,
            })
        };

        let blocks = channels.len();
        let mut down = Vec::new();
        for block in 0..blocks {
            let scope = root.at("down_blocks").at(block);
            let (inner, out) = (channels[block.saturating_sub(1)], channels[block]);
            let layers = (0..config.layers(block))
                .map(|i| layer(&scope, i, if i == 0 { inner } else { out }, block, config.down_has_attention(block)))
                .collect::<Result<_>>()?;
            let resample = (block + 1 < blocks)
                .then(|| scope.at("downsamplers.0.conv").conv(out, out, 3, 2, config.downsample_padding))
                .transpose()?;
            down.push(Block { layers, resample });
        }

        let mut up = Vec::new();
        for i in 0..blocks {
            let block = blocks - 1 - i;
            let scope = root.at("up_blocks").at(i);
            let out = channels[block];
            let below = channels[(block + 1).min(blocks - 1)];
            let skip_last = channels[block.saturating_sub(1)];
            let count = config.layers(block) + 1;
            let layers = (0..count)
                .map(|j| {
                    let skip = if j + 1 == count { skip_last } else { out };
                    let inner = if j == 0 { below } else { out };
                    layer(&scope, j, inner + skip, block, config.up_has_attention(i))
                })
                .collect::<Result<_>>()?;
            let resample = (block > 0).then(|| scope.at("upsamplers.0.conv").conv(out, out, 3, 1, 1)).transpose()?;
            up.push(Block { layers, resample });
        }

        let mid = root.at("mid_block");
        let mid_first = Layer {
            resnet: Resnet::load(&mid.at("resnets.0"), last, last, resnets)?,
            transformer: Some(transformer(&mid.at("attentions.0"), blocks - 1)?),
        };
        Ok(Self {
            conv_in: root.at("conv_in").conv(config.in_channels, first, 3, 1, 1)?,
            time_linear1: root.at("time_embedding.linear_1").linear(first, time_width)?,
            time_linear2: root.at("time_embedding.linear_2").linear(time_width, time_width)?,
            down,
            mid_first,
            mid_last: Resnet::load(&mid.at("resnets.1"), last, last, resnets)?,
            up,
            norm_out: root.at("conv_norm_out").norm(first, config.norm_eps)?,
            conv_out: root.at("conv_out").conv(first, config.out_channels, 3, 1, 1)?,
            compute: part.weights.compute().clone(),
            config,
        })
    }

    fn run(
        &self,
        latents: &Tensor,
        timesteps: &[f32],
        context: &Tracked,
        options: &UNetOptions<'_>,
    ) -> candle_core::Result<Tracked> {
        let time = self.time_embedding(timesteps)?;
        let x: Tracked = self.compute.input(latents)?.permute((0, 2, 3, 1))?.contiguous()?.into();
        let mut h = ops::conv2d(&x, &self.conv_in, None, None)?;
        let mut skips = vec![h.clone()];
        for block in &self.down {
            for layer in &block.layers {
                h = layer.forward(&h, &time, context, options)?;
                skips.push(h.clone());
            }
            if let Some(conv) = &block.resample {
                h = ops::conv2d(&h, conv, None, None)?;
                skips.push(h.clone());
            }
        }
        h = self.mid_first.forward(&h, &time, context, options)?;
        h = self.mid_last.forward(&h, Some(&time))?;
        for block in &self.up {
            for layer in &block.layers {
                if let Some(skip) = skips.pop() {
                    h = ops::concat_channels(&h, &skip)?;
                }
                h = layer.forward(&h, &time, context, options)?;
            }
            if let Some(conv) = &block.resample {
                h = ops::conv2d(&ops::upsample2(&h)?, conv, None, None)?;
            }
        }
        h = ops::group_norm(&h, &self.norm_out, self.config.norm_num_groups, true)?;
        ops::cast(&ops::channels_first(&ops::conv2d(&h, &self.conv_out, None, None)?)?, DType::F32)
    }

    /// SiLU of the time embedding, [B, 4 · C]: sinusoids through two linear layers (Ho et al. 2020, appendix B).
    fn time_embedding(&self, timesteps: &[f32]) -> candle_core::Result<Tensor> {
        let half = self.config.block_out_channels[0] / 2;
        let mut sinusoids = Vec::with_capacity(timesteps.len() * 2 * half);
        for &t in timesteps {
            let angles = (0..half).map(|i| {
                let exponent = -(10_000f32.ln()) * i as f32 / (half as f32 - self.config.freq_shift as f32);
                t * exponent.exp()
            });
            let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
            let (first, second) = if self.config.flip_sin_to_cos { (cos, sin) } else { (sin, cos) };
            sinusoids.extend(first);
            sinusoids.extend(second);
        }
        let sinusoids = Tensor::from_vec(sinusoids, (timesteps.len(), 2 * half), &Device::Cpu)?;
        let x: Tracked = self.compute.input(&sinusoids)?.into();
        let x = ops::silu(&ops::linear(&x, &self.time_linear1, None)?)?;
        Ok(ops::silu(&ops::linear(&x, &self.time_linear2, None)?)?.value().clone())
    }
}
