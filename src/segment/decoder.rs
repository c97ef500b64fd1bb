//! The mask decoder (section 3 and appendix A of the paper). candle-transformers has one, but with GELU approximated by tanh
//! where the authors' is exact, and without a way to all four masks of one pass. Its two-way transformer is used here.

use candle_core::{IndexOp, Result, Tensor};
use candle_nn::{ConvTranspose2d, ConvTranspose2dConfig, Linear, Module, VarBuilder, conv_transpose2d, linear};
use candle_transformers::models::segment_anything::LayerNorm2d;
use candle_transformers::models::segment_anything::transformer::TwoWayTransformer;

use super::WIDTH;

/// Masks of one pass: one for several points, three for a single one.
const MASKS: usize = 4;

/// Three linear layers with ReLU between them.
struct Mlp([Linear; 3]);

impl Mlp {
    fn new(out: usize, weights: &VarBuilder) -> Result<Self> {
        let layer = |index: usize, out: usize| linear(WIDTH, out, weights.pp("layers").pp(index));
        Ok(Self([layer(0, WIDTH)?, layer(1, WIDTH)?, layer(2, out)?]))
    }

    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let [first, second, last] = &self.0;
        last.forward(&second.forward(&first.forward(hidden)?.relu()?)?.relu()?)
    }
}

/// From features and prompts to masks.
pub(super) struct MaskDecoder {
    /// The tokens that gather quality and masks, [1 + 4, 256].
    tokens: Tensor,
    transformer: TwoWayTransformer,
    enlarge: [ConvTranspose2d; 2],
    norm: LayerNorm2d,
    of_masks: Vec<Mlp>,
    of_quality: Mlp,
}

impl MaskDecoder {
    pub fn new(weights: &VarBuilder) -> Result<Self> {
        let twice = ConvTranspose2dConfig { stride: 2, ..ConvTranspose2dConfig::default() };
        let enlarge = weights.pp("output_upscaling");
        let of_masks = weights.pp("output_hypernetworks_mlps");
        let quality_token = weights.get((1, WIDTH), "iou_token.weight")?;
        let mask_tokens = weights.get((MASKS, WIDTH), "mask_tokens.weight")?;
        Ok(Self {
            tokens: Tensor::cat(&[quality_token, mask_tokens], 0)?,
            transformer: TwoWayTransformer::new(2, WIDTH, 8, 2048, weights.pp("transformer"))?,
            enlarge: [
                conv_transpose2d(WIDTH, WIDTH / 4, 2, twice, enlarge.pp(0))?,
                conv_transpose2d(WIDTH / 4, WIDTH / 8, 2, twice, enlarge.pp(3))?,
            ],
            norm: LayerNorm2d::new(WIDTH / 4, 1e-6, enlarge.pp(1))?,
            of_masks: (0..MASKS).map(|mask| Mlp::new(WIDTH / 8, &of_masks.pp(mask))).collect::<Result<_>>()?,
            of_quality: Mlp::new(MASKS, &weights.pp("iou_prediction_head"))?,
        })
    }

    /// From the photo's features [1, 256, h, w] and the places of its patches, of the same shape, the points [1, P, 256] and the
    /// dense prompt [1, 256, h, w] to the logits of the masks [4, 4h, 4w] and the quality of the four.
    pub fn forward(
        &self,
        features: &Tensor,
        places: &Tensor,
        points: &Tensor,
        dense: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let tokens = Tensor::cat(&[&self.tokens.unsqueeze(0)?, points], 1)?;
        let (_, channels, height, width) = features.dims4()?;
        let (tokens, photo) = self.transformer.forward(&features.broadcast_add(dense)?, places, &tokens)?;
        let photo = photo.transpose(1, 2)?.reshape((1, channels, height, width))?;
        let [first, second] = &self.enlarge;
        let photo = self.norm.forward(&first.forward(&photo)?)?.gelu_erf()?;
        let photo = second.forward(&photo)?.gelu_erf()?;
        let masks = self.of_masks.iter().enumerate().map(|(mask, mlp)| mlp.forward(&tokens.i((.., 1 + mask))?));
        let masks = Tensor::cat(&masks.collect::<Result<Vec<_>>>()?, 0)?;
        let logits = masks.matmul(&photo.reshape((WIDTH / 8, 16 * height * width))?)?;
        Ok((logits.reshape((MASKS, 4 * height, 4 * width))?, self.of_quality.forward(&tokens.i((.., 0))?)?.squeeze(0)?))
    }
}
