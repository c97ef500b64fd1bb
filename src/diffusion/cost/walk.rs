//! One pass through the networks, step by step as `text_encoder`, `unet/`, `vae` and `resnet` make it. A change there is a change here.

use super::meter::{
    Meter, Value, attention, checkpoint, concat_channels, conv2d, geglu, linear, reshape, same_size, upsample2,
};
use crate::diffusion::text_encoder::Config as TextConfig;
use crate::diffusion::unet::Config as UNetConfig;
use crate::diffusion::vae::Config as VaeConfig;

const SAME: (usize, usize) = (1, 1);

fn resnet(x: &Value, out: usize) -> Value {
    let inner = x.dims()[3];
    let h = same_size(x);
    let h = conv2d(&h, out, 3, 1, SAME, None);
    let h = same_size(&h);
    let skip = if inner == out { x.clone() } else { linear(x, out, None) };
    conv2d(&h, out, 3, 1, SAME, Some(&skip))
}

fn transformer(x: &Value, context: &Value, heads: usize, layers: usize) -> Value {
    let [b, height, width, c] = x.dims()[..] else { return x.clone() };
    let normed = same_size(x);
    let mut h = reshape(&linear(&normed, c, None), &[b, height * width, c]);
    for _ in 0..layers {
        let normed = same_size(&h);
        let q = linear(&normed, c, None);
        let k = linear(&normed, c, None);
        let v = linear(&normed, c, None);
        let attended = attention(&q, &k, &v, heads);
        h = linear(&attended, c, Some(&h));

        let q = linear(&same_size(&h), c, None);
        let k = linear(context, c, None);
        let v = linear(context, c, None);
        let attended = attention(&q, &k, &v, heads);
        h = linear(&attended, c, Some(&h));

        let inner = linear(&same_size(&h), 8 * c, None);
        h = linear(&geglu(&inner), c, Some(&h));
    }
    let h = reshape(&h, &[b, height, width, c]);
    linear(&h, c, Some(x))
}

/// A residual block and the transformer (heads, layers) behind it, if there is one.
fn layer(x: &Value, context: &Value, out: usize, attention: Option<(usize, usize)>, checkpointed: bool) -> Value {
    let run = move |x: &Value, context: &Value| {
        let h = resnet(x, out);
        match attention {
            Some((heads, layers)) => transformer(&h, context, heads, layers),
            None => h,
        }
    };
    if checkpointed {
        return checkpoint(&[x, context], move |inputs| run(&inputs[0], &inputs[1]));
    }
    run(x, context)
}

/// The predicted noise for `batch` latents of `height` × `width` and the text `context` [B or 1, T, D].
pub(super) fn unet(
    config: &UNetConfig,
    meter: &Meter,
    (batch, height, width): (usize, usize, usize),
    context: &Value,
    checkpointed: bool,
) -> Value {
    let channels = &config.block_out_channels;
    let blocks = channels.len();
    let transformer_of =
        |block: usize, attention: bool| attention.then(|| (config.heads(block), config.transformer_layers(block)));
    let x = meter.constant(&[batch, height, width, config.in_channels]);
    let mut h = conv2d(&x, channels[0], 3, 1, SAME, None);
    let mut skips = vec![h.clone()];
    for (block, &out) in channels.iter().enumerate() {
        let attention = transformer_of(block, config.down_has_attention(block));
        for _ in 0..config.layers(block) {
            h = layer(&h, context, out, attention, checkpointed);
            skips.push(h.clone());
        }
        if block + 1 < blocks {
            let padding = (config.downsample_padding, config.downsample_padding);
            h = conv2d(&h, out, 3, 2, padding, None);
            skips.push(h.clone());
        }
    }
    h = layer(&h, context, channels[blocks - 1], transformer_of(blocks - 1, true), checkpointed);
    h = resnet(&h, channels[blocks - 1]);
    for i in 0..blocks {
        let block = blocks - 1 - i;
        let attention = transformer_of(block, config.up_has_attention(i));
        for _ in 0..=config.layers(block) {
            if let Some(skip) = skips.pop() {
                h = concat_channels(&h, &skip);
            }
            h = layer(&h, context, channels[block], attention, checkpointed);
        }
        if block > 0 {
            h = conv2d(&upsample2(&h), channels[block], 3, 1, SAME, None);
        }
    }
    h = same_size(&h);
    // Brought to channels first at the end.
    same_size(&conv2d(&h, config.out_channels, 3, 1, SAME, None))
}

/// The hidden state of texts [B, T, D] that enter layer `first`.
pub(super) fn text_encoder(config: &TextConfig, first: usize, hidden: &Value) -> Value {
    let (d, inner) = (config.hidden_size, config.intermediate_size);
    let mut h = hidden.clone();
    for _ in first..config.num_hidden_layers {
        let normed = same_size(&h);
        let (q, k, v) = (linear(&normed, d, None), linear(&normed, d, None), linear(&normed, d, None));
        h = linear(&attention(&q, &k, &v, config.num_attention_heads), d, Some(&h));
        h = linear(&same_size(&linear(&same_size(&h), inner, None)), d, Some(&h));
    }
    same_size(&h)
}

fn vae_mid(x: &Value, config: &VaeConfig) -> Value {
    let [b, height, width, c] = x.dims()[..] else { return x.clone() };
    let mut h = resnet(x, c);
    if config.mid_block_add_attention {
        let x = h.clone();
        let normed = same_size(&x);
        let tokens = || reshape(&linear(&normed, c, None), &[b, height * width, c]);
        let attended = attention(&tokens(), &tokens(), &tokens(), 1);
        h = linear(&reshape(&attended, &[b, height, width, c]), c, Some(&x));
    }
    resnet(&h, c)
}

/// Latents of `batch` pictures of `side` × `side`.
pub(super) fn vae_encode(config: &VaeConfig, meter: &Meter, batch: usize, side: usize) -> Value {
    let channels = &config.block_out_channels;
    let x = meter.constant(&[batch, side, side, config.in_channels]);
    let mut h = conv2d(&x, channels[0], 3, 1, SAME, None);
    for (i, &out) in channels.iter().enumerate() {
        for _ in 0..config.layers_per_block {
            h = resnet(&h, out);
        }
        if i + 1 < channels.len() {
            h = conv2d(&h, out, 3, 2, (0, 1), None);
        }
    }
    h = vae_mid(&h, config);
    h = same_size(&h);
    conv2d(&h, 2 * config.latent_channels, 3, 1, SAME, None)
}

/// `batch` pictures of latents of `side` × `side`.
pub(super) fn vae_decode(config: &VaeConfig, meter: &Meter, batch: usize, side: usize) -> Value {
    let channels = &config.block_out_channels;
    let x = meter.constant(&[batch, side, side, config.latent_channels]);
    let h = conv2d(&x, channels[channels.len() - 1], 3, 1, SAME, None);
    let mut h = vae_mid(&h, config);
    for (i, &out) in channels.iter().rev().enumerate() {
        for _ in 0..=config.layers_per_block {
            h = resnet(&h, out);
        }
        if i + 1 < channels.len() {
            h = conv2d(&upsample2(&h), out, 3, 1, SAME, None);
        }
    }
    h = same_size(&h);
    conv2d(&h, config.out_channels, 3, 1, SAME, None)
}
