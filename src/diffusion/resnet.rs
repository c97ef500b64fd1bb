//! The residual block that the UNet and the VAE share (diffusers' `ResnetBlock2D`).

use candle_core::{Result, Tensor};

use super::error;
use super::ops::{self, ConvWeights, LinearWeights, NormWeights};
use super::tape::Tracked;
use super::weights::Scope;

#[derive(Clone)]
pub(crate) struct Resnet {
    norm1: NormWeights,
    conv1: ConvWeights,
    time_projection: Option<LinearWeights>,
    norm2: NormWeights,
    conv2: ConvWeights,
    shortcut: Option<LinearWeights>,
    groups: usize,
}

/// What all residual blocks of a network share.
#[derive(Clone, Copy)]
pub(crate) struct ResnetOptions {
    pub groups: usize,
    pub eps: f64,
    /// Width of the time embedding; none in a VAE.
    pub time_width: Option<usize>,
}

impl Resnet {
    pub fn load(scope: &Scope<'_>, inner: usize, out: usize, options: ResnetOptions) -> error::Result<Self> {
        let ResnetOptions { groups, eps, time_width } = options;
        Ok(Self {
            norm1: scope.at("norm1").norm(inner, eps)?,
            conv1: scope.at("conv1").conv(inner, out, 3, 1, 1)?,
            time_projection: time_width.map(|width| scope.at("time_emb_proj").linear(width, out)).transpose()?,
            norm2: scope.at("norm2").norm(out, eps)?,
            conv2: scope.at("conv2").conv(out, out, 3, 1, 1)?,
            shortcut: (inner != out).then(|| scope.at("conv_shortcut").pointwise_conv(inner, out)).transpose()?,
            groups,
        })
    }

    /// [B, H, W, in] → [B, H, W, out]; `time` is SiLU of the time embedding, [B, width].
    pub fn forward(&self, x: &Tracked, time: Option<&Tensor>) -> Result<Tracked> {
        let shift = match (&self.time_projection, time) {
            (Some(projection), Some(time)) => Some(ops::linear(&time.into(), projection, None)?.value().clone()),
            _ => None,
        };
        let h = ops::group_norm(x, &self.norm1, self.groups, true)?;
        let h = ops::conv2d(&h, &self.conv1, shift.as_ref(), None)?;
        let h = ops::group_norm(&h, &self.norm2, self.groups, true)?;
        let skip = match &self.shortcut {
            Some(shortcut) => ops::linear(x, shortcut, None)?,
            None => x.clone(),
        };
        ops::conv2d(&h, &self.conv2, None, Some(&skip))
    }
}
