//! The configs of a file in the original naming, which carries none: what tensor shapes tell is read from them, the rest
//! are the constants of its family (Stable Diffusion 1.x or 2.x).

use serde_json::{Value, json};

use super::error::{Error, Result};
use super::original::{CLIP, Naming, OPEN_CLIP, UNET, VAE};
use super::tensor_file::TensorFile;

/// A family of models that differ by training only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// CLIP-L, 1 × 1 convolutions around the transformers.
    Sd1,
    /// OpenCLIP, linear maps.
    Sd2,
}

impl Family {
    /// As people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
        }
    }
}

/// How the UNet's blocks are counted in the original naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Residual blocks a level on the way down.
    pub layers: usize,
    /// Whether each level has attention, from the top down.
    pub attention: Vec<bool>,
}

/// Channels of a group norm's groups are told by no tensor.
const NORM_GROUPS: usize = 32;
/// Width of a head in both text encoders and in the UNet of 2.x.
const HEAD_WIDTH: usize = 64;
/// Heads in the UNet of 1.x, at every width.
const SD1_HEADS: usize = 8;
/// Layers of OpenCLIP-H that Stable Diffusion 2 uses.
const USED_LAYERS: usize = 23;
/// What the VAEs of both families scale latents by.
const SCALING_FACTOR: f64 = 0.18215;

/// What a file that is no Stable Diffusion checkpoint is, by a tensor that only such files have.
const OTHERS: [(&str, &str); 14] = [
    ("conditioner.embedders.", "an SDXL model, which is not supported"),
    ("joint_blocks.", "a Stable Diffusion 3 model, which is not supported"),
    ("double_blocks.", "a Flux model, which is not supported"),
    ("double_stream_blocks.", "a HiDream model, which is not supported"),
    ("cond_stage_model.roberta.", "an AltDiffusion model, which is not supported"),
    ("control_model.", "a ControlNet, not a base model"),
    ("lora_", "a LoRA, not a base model"),
    (".lora", "a LoRA, not a base model"),
    ("emb_params", "a textual-inversion embedding, not a base model"),
    ("string_to_param", "a textual-inversion embedding, not a base model"),
    ("down_blocks.0.motion_modules", "an AnimateDiff model, which is not supported"),
    ("down_blocks.", "one part of a diffusers folder: give the folder that has unet/, vae/ and text_encoder/"),
    ("text_model.", "a text encoder by itself, not a base model"),
    ("decoder.conv_in.", "a VAE by itself: add a whole model and give this file to --vae"),
];

/// The shapes in a file, asked for by name.
struct Shapes<'a> {
    file: &'a TensorFile,
    prefix: &'static str,
}

impl Shapes<'_> {
    /// Whether a tensor's name begins with `start`.
    fn any(&self, start: &str) -> bool {
        let start = format!("{}{start}", self.prefix);
        self.file.tensors_from(&start).next().is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// How many of `start`0, `start`1, ... there are: one more than the last with something behind a dot, so that one that
    /// is missing between others will be missed.
    fn count(&self, start: &str) -> usize {
        let start = format!("{}{start}", self.prefix);
        let names = self.file.tensors_from(&start).map_while(|(name, _)| name.strip_prefix(&start));
        let last = names.filter_map(|rest| rest.split_once('.')?.0.parse::<usize>().ok()).max();
        last.map_or(0, |last| last.saturating_add(1).min(self.file.tensors().count()))
    }

    fn rank(&self, name: &str) -> Option<usize> {
        Some(self.file.info(&format!("{}{name}", self.prefix))?.shape.len())
    }

    /// The size of a dimension, by the first of these tensors that is there: `(name, dimension)`.
    fn size(&self, anyone: &[(String, usize)]) -> Result<usize> {
        let found = anyone
            .iter()
            .find_map(|(name, dim)| self.file.info(&format!("{}{name}", self.prefix))?.shape.get(*dim).copied());
        found.filter(|&size| size > 0).ok_or_else(|| {
            let names: Vec<String> = anyone.iter().map(|(name, _)| format!("{}{name}", self.prefix)).collect();
            self.file.error(format!("its sizes cannot be told without the tensor {}", names.join(" or ")))
        })
    }

    /// The channels a convolution or linear map gives.
    fn out(&self, names: &[&str]) -> Result<usize> {
        let leaves = ["weight", "bias"];
        let anyone: Vec<_> = names.iter().flat_map(|name| leaves.map(|leaf| (format!("{name}.{leaf}"), 0))).collect();
        self.size(&anyone)
    }
}

/// The family of a checkpoint, or what else it is.
pub(super) fn family(file: &TensorFile) -> Result<Family> {
    let has = |prefix| Shapes { file, prefix }.any("");
    let other = || {
        let names = || file.tensors().map(|(name, _)| name);
        OTHERS.iter().find(|(mark, _)| names().any(|name| name.contains(mark))).map(|(_, what)| (*what).to_owned())
    };
    match (has(UNET), has(CLIP), has(OPEN_CLIP)) {
        (true, true, _) => Ok(Family::Sd1),
        (true, false, true) => Ok(Family::Sd2),
        (true, ..) => Err(file.error(other().unwrap_or_else(|| {
            format!("has a UNet but no text encoder ({CLIP}* or {OPEN_CLIP}*): it is not a whole Stable Diffusion 1.x or 2.x")
        }))),
        _ => Err(file.error(other().unwrap_or_else(|| {
            format!("not a Stable Diffusion checkpoint: it has no tensor {UNET}*, of {} in all", file.tensors().count())
        }))),
    }
}

/// Naming and config of the UNet; `sample_size` is the size of the latents it was trained on.
pub(super) fn unet(file: &TensorFile, family: Family, sample_size: usize) -> Result<(Naming, Result<Value>)> {
    let shapes = Shapes { file, prefix: UNET };
    let conv_in = "input_blocks.0.0";
    let (mut channels, mut attention, mut layers): (Vec<usize>, Vec<bool>, Vec<usize>) = Default::default();
    let (mut depth, mut first_attention) = (1, None);
    let mut open = false;
    for block in 1..shapes.count("input_blocks.") {
        let at = format!("input_blocks.{block}");
        if !["in_layers", "out_layers", "emb_layers"].iter().any(|layers| shapes.any(&format!("{at}.0.{layers}."))) {
            // What halves the resolution, also where it is missing.
            open = false;
            continue;
        }
        if !open {
            let resnet = ["out_layers.3", "in_layers.2", "out_layers.0", "emb_layers.1"];
            let names: Vec<String> = resnet.iter().map(|layer| format!("{at}.0.{layer}")).collect();
            channels.push(shapes.out(&names.iter().map(String::as_str).collect::<Vec<_>>())?);
            attention.push(shapes.any(&format!("{at}.1.")));
            layers.push(0);
            open = true;
            if first_attention.is_none() && shapes.any(&format!("{at}.1.")) {
                depth = shapes.count(&format!("{at}.1.transformer_blocks.")).max(1);
                first_attention = Some(format!("{at}.1"));
            }
        }
        if let Some(count) = layers.last_mut() {
            *count += 1;
        }
    }
    let (Some(&layers_per_block), Some(first_attention)) = (layers.first(), first_attention) else {
        return Err(
            file.error(format!("its UNet has no tensor {UNET}input_blocks.1.1.*, as every Stable Diffusion has"))
        );
    };
    if layers.iter().any(|&count| count != layers_per_block) {
        return Err(file.error(format!(
            "its UNet has {layers:?} layers a level: one count is missing some, or it is no Stable Diffusion"
        )));
    }
    let naming = Naming::UNet(Layout { layers: layers_per_block, attention: attention.clone() });
    let linear = match family {
        _ if shapes.rank(&format!("{first_attention}.proj_in.weight")) == Some(2) => true,
        _ if shapes.rank(&format!("{first_attention}.proj_in.weight")) == Some(4) => false,
        Family::Sd1 => false,
        Family::Sd2 => true,
    };
    let heads = || {
        let each = || channels.iter().map(|width| heads(file, "UNet", *width)).collect::<Result<Vec<_>>>();
        Ok::<Value, Error>(if linear { each()?.into() } else { SD1_HEADS.into() })
    };
    let cross = |name: &str| (format!("{first_attention}.transformer_blocks.0.attn2.{name}.weight"), 1);
    let kind = |side: &str, attention: &bool| format!("{}{side}Block2D", if *attention { "CrossAttn" } else { "" });
    let config = || {
        Ok(json!({
        "sample_size": sample_size,
        "in_channels": shapes.size(&[(format!("{conv_in}.weight"), 1)])?,
        "out_channels": shapes.out(&["out.2"])?,
        "block_out_channels": channels,
        "down_block_types": attention.iter().map(|a| kind("Down", a)).collect::<Vec<_>>(),
        "up_block_types": attention.iter().rev().map(|a| kind("Up", a)).collect::<Vec<_>>(),
        "layers_per_block": layers_per_block,
        "attention_head_dim": heads()?,
        "transformer_layers_per_block": depth,
        "cross_attention_dim": shapes.size(&[cross("to_k"), cross("to_v")])?,
        "use_linear_projection": linear,
        "norm_num_groups": NORM_GROUPS,
        }))
    };
    Ok((naming, config()))
}

/// Heads of a part that is so wide.
fn heads(file: &TensorFile, part: &str, width: usize) -> Result<usize> {
    if width.is_multiple_of(HEAD_WIDTH) {
        return Ok(width / HEAD_WIDTH);
    }
    let cause = format!(
        "its {part} is {width} wide, no multiple of {HEAD_WIDTH}: how many heads it has cannot be told from it; give --config"
    );
    Err(file.error(cause))
}

/// Naming and config of the VAE: in a checkpoint, or a file of its own.
pub(super) fn vae(file: &TensorFile) -> Result<(Naming, Result<Value>)> {
    let prefix = if (Shapes { file, prefix: VAE }).any("") { VAE } else { "" };
    let shapes = Shapes { file, prefix };
    let blocks = shapes.count("encoder.down.").max(shapes.count("decoder.up."));
    if blocks == 0 {
        let cause = if shapes.any("encoder.down_blocks.") {
            "a VAE in diffusers' naming: give the folder with its config.json".to_owned()
        } else {
            format!("has no VAE (no tensor {VAE}encoder.down.*): give one with --vae")
        };
        return Err(file.error(cause));
    }
    let channels = |i: usize| {
        let (down, up) = (format!("encoder.down.{i}.block.0"), format!("decoder.up.{i}.block.0"));
        shapes.out(&[
            &format!("{down}.conv2"),
            &format!("{down}.conv1"),
            &format!("{up}.conv2"),
            &format!("{up}.conv1"),
        ])
    };
    let config = || {
        let latent = [("decoder.conv_in.weight".into(), 1), ("post_quant_conv.weight".into(), 0)];
        Ok(json!({
            "in_channels": shapes.size(&[("encoder.conv_in.weight".into(), 1)])?,
            "out_channels": shapes.out(&["decoder.conv_out"])?,
            "latent_channels": shapes.size(&latent)?,
            "block_out_channels": (0..blocks).map(channels).collect::<Result<Vec<_>>>()?,
            "layers_per_block": shapes.count("encoder.down.0.block.").max(1),
            "norm_num_groups": NORM_GROUPS,
            "scaling_factor": SCALING_FACTOR,
        }))
    };
    Ok((Naming::Vae { prefix, blocks }, config()))
}

/// Naming and config of the text encoder.
pub(super) fn text_encoder(file: &TensorFile, family: Family) -> (Naming, Result<Value>) {
    let (prefix, naming, act) = match family {
        Family::Sd1 if (Shapes { file, prefix: CLIP }).any("text_model.") => (
            "cond_stage_model.transformer.text_model.",
            Naming::Clip("cond_stage_model.transformer.text_model."),
            "quick_gelu",
        ),
        Family::Sd1 => (CLIP, Naming::Clip(CLIP), "quick_gelu"),
        Family::Sd2 => (OPEN_CLIP, Naming::OpenClip, "gelu"),
    };
    let shapes = Shapes { file, prefix };
    let (token, position, inner, layers) = match family {
        Family::Sd1 => {
            let names = [
                "embeddings.token_embedding.weight",
                "embeddings.position_embedding.weight",
                "encoder.layers.0.mlp.fc1",
            ];
            (names[0], names[1], names[2], shapes.count("encoder.layers."))
        }
        // The last layer is not used: the text is read from the one before it.
        Family::Sd2 => {
            let names = ["token_embedding.weight", "positional_embedding", "transformer.resblocks.0.mlp.c_fc"];
            let blocks = shapes.count("transformer.resblocks.");
            // Some files were saved without it: OpenCLIP-H has 24 layers.
            let layers = if blocks == USED_LAYERS { blocks } else { blocks.saturating_sub(1) };
            (names[0], names[1], names[2], layers)
        }
    };
    let config = || {
        let width = shapes.size(&[(token.into(), 1), (position.into(), 1)])?;
        Ok(json!({
            "vocab_size": shapes.size(&[(token.into(), 0)])?,
            "hidden_size": width,
            "intermediate_size": shapes.out(&[inner])?,
            "num_hidden_layers": layers,
            "num_attention_heads": heads(file, "text encoder", width)?,
            "max_position_embeddings": shapes.size(&[(position.into(), 0)])?,
            "hidden_act": act,
            "layer_norm_eps": 1e-5,
        }))
    };
    (naming, config())
}

/// The noise schedule of both families.
pub(super) fn scheduler(prediction: &str) -> Value {
    json!({
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "set_alpha_to_one": false,
        "clip_sample": false,
        "prediction_type": prediction,
    })
}
