//! A segmenter of one world: a small U-Net (Ronneberger et al. 2015, arXiv 1505.04597) that was trained on pictures with exact
//! masks, and says of each pixel whether it is of the picture's object. The demo has one; its masks are what other makers are
//! judged by.
//!
//! A folder as diffusers has it: `config.json` (`MaskUNet`) and one file of weights, `down.{level}.{0,1}.{conv,norm}`,
//! `up.{level}.{0,1}.{conv,norm}`, `out`.

use std::path::{Path, PathBuf};

use candle_core::Device;
use image::{GrayImage, Luma, RgbImage};
use serde::Deserialize;

use super::error::Error;
use crate::diffusion::{Compute, Part, Scope, Tracked, ops, to_tensor};
use crate::fs::sha256;
use crate::image::{resize_bicubic, resize_map};
use ops::{ConvWeights, LinearWeights, NormWeights};

/// The largest side that a network may have: its activations fill memory.
const MOST_SIDE: usize = 1024;

/// Its `config.json`.
#[derive(Debug, Clone, Deserialize)]
struct Config {
    #[serde(rename = "_class_name")]
    class_name: String,
    /// Width and height that pictures are brought to.
    sample_size: usize,
    in_channels: usize,
    /// Channels of each level, from the finest down.
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    norm_num_groups: usize,
}

/// Convolution, norm, SiLU.
struct Layer {
    conv: ConvWeights,
    norm: NormWeights,
}

/// The network, loaded. It computes in float32.
pub struct MaskNetwork {
    config: Config,
    down: Vec<Vec<Layer>>,
    /// From the finest level down to the one above the deepest.
    up: Vec<Vec<Layer>>,
    out: LinearWeights,
    device: Device,
    /// Its folder.
    pub path: PathBuf,
    /// Of its weights.
    pub sha256: String,
}

impl MaskNetwork {
    /// Load the network in the folder `path`, to compute by `compute`.
    ///
    /// # Errors
    /// A folder without one, a tensor that is missing or misshapen.
    pub fn load(path: &Path, compute: &Compute) -> Result<Self, Error> {
        let part = Part::open(path, None).map_err(Error::network_file)?.on(&compute.in_float32());
        let config: Config = part.parse().map_err(Error::network_file)?;
        let wrong = |cause: String| Error::Network { path: path.to_owned(), cause };
        if config.class_name != "MaskUNet" {
            return Err(wrong(format!("its config.json is of {:?}, not of a \"MaskUNet\"", config.class_name)));
        }
        let channels = &config.block_out_channels;
        let halvings = channels.len().saturating_sub(1);
        let groups = config.norm_num_groups;
        if channels.is_empty() || groups == 0 || channels.iter().any(|width| width % groups != 0) {
            return Err(wrong(format!("{channels:?} channels cannot be normed in {groups} groups")));
        }
        if config.layers_per_block == 0 {
            return Err(wrong("it has 0 layers a block".into()));
        }
        if config.sample_size > MOST_SIDE {
            return Err(wrong(format!("a side of {} is more than {MOST_SIDE}", config.sample_size)));
        }
        if config.sample_size == 0 || !config.sample_size.is_multiple_of(1 << halvings.min(16)) {
            return Err(wrong(format!("a side of {} cannot be halved {halvings} times", config.sample_size)));
        }
        let block = |scope: &Scope<'_>, inner: usize, out: usize| {
            let layer = |i: usize| {
                let (scope, inner) = (scope.at(i), if i == 0 { inner } else { out });
                Ok(Layer { conv: scope.at("conv").conv(inner, out, 3, 1, 1)?, norm: scope.at("norm").norm(out, 1e-5)? })
            };
            let layers = (0..config.layers_per_block).map(layer).collect::<Result<Vec<_>, _>>();
            layers.map_err(Error::network_file)
        };
        let root = part.weights.at("");
        let mut down = Vec::new();
        for (level, &out) in channels.iter().enumerate() {
            let inner = if level == 0 { config.in_channels } else { channels[level - 1] };
            down.push(block(&root.at("down").at(level), inner, out)?);
        }
        let mut up = Vec::new();
        for (level, pair) in channels.windows(2).enumerate() {
            up.push(block(&root.at("up").at(level), pair[0] + pair[1], pair[0])?);
        }
        let out = root.at("out").pointwise_conv(channels[0], 1).map_err(Error::network_file)?;
        let file = crate::diffusion::Weights::files(path).map_err(Error::network_file)?;
        let file = file.first().ok_or_else(|| wrong("it has no weights".into()))?;
        let sha256 = sha256(file).map_err(|source| Error::Read { path: file.clone(), source })?;
        Ok(Self { down, up, out, device: compute.device().clone(), path: path.to_owned(), sha256, config })
    }

    /// What it makes of `picture`: for each of its own h × w places how much rather the object than the scene, in nats, and h, w.
    ///
    /// # Errors
    /// A failing computation.
    pub fn logits(&self, picture: &RgbImage) -> Result<(Vec<f32>, (usize, usize)), Error> {
        let side = self.config.sample_size;
        let x = to_tensor(&[resize_bicubic(picture, side as u32, side as u32)]).map_err(Error::network_file)?;
        let mut x: Tracked = x.to_device(&self.device)?.permute((0, 2, 3, 1))?.contiguous()?.into();
        let mut skips = Vec::new();
        for (level, block) in self.down.iter().enumerate() {
            if level > 0 {
                skips.push(x.clone());
                x = halved(&x)?;
            }
            x = self.through(block, x)?;
        }
        for block in self.up.iter().rev() {
            let Some(skip) = skips.pop() else { break };
            x = self.through(block, ops::concat_channels(&ops::upsample2(&x)?, &skip)?)?;
        }
        let logits = ops::linear(&x, &self.out, None)?;
        Ok((logits.value().flatten_all()?.to_vec1()?, (side, side)))
    }

    fn through(&self, block: &[Layer], mut x: Tracked) -> Result<Tracked, Error> {
        for layer in block {
            x = ops::group_norm(
                &ops::conv2d(&x, &layer.conv, None, None)?,
                &layer.norm,
                self.config.norm_num_groups,
                true,
            )?;
        }
        Ok(x)
    }

    /// The mask of the object in `picture`, of its size; all black where it sees none.
    ///
    /// # Errors
    /// A failing computation, weights that give no numbers.
    pub fn mask(&self, picture: &RgbImage) -> Result<GrayImage, Error> {
        let (logits, size) = self.logits(picture)?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::Network { path: self.path.clone(), cause: "its weights give no numbers".into() });
        }
        let (width, height) = picture.dimensions();
        let own = resize_map(&logits, size, (height as usize, width as usize));
        let mut mask = GrayImage::new(width, height);
        mask.pixels_mut().zip(own).for_each(|(pixel, logit)| *pixel = Luma([if logit > 0.0 { 255 } else { 0 }]));
        Ok(mask)
    }
}

/// [B, 2 h, 2 w, C] → [B, h, w, C]: the mean of each four.
fn halved(x: &Tracked) -> Result<Tracked, candle_core::Error> {
    Ok(x.value().permute((0, 3, 1, 2))?.contiguous()?.avg_pool2d(2)?.permute((0, 2, 3, 1))?.contiguous()?.into())
}
