//! The names that Stable Diffusion's original code (CompVis, Stability AI) gives its tensors, by those that diffusers and
//! transformers give them. The one place that knows both: all else asks for tensors by the latter.

use super::infer::Layout;

/// What the files of a part call its tensors.
#[derive(Debug, Clone)]
pub(super) enum Naming {
    /// As diffusers and transformers do.
    Diffusers,
    /// `model.diffusion_model.*`
    UNet(Layout),
    /// `first_stage_model.*`, or a VAE by itself without that.
    Vae {
        /// What stands before each name.
        prefix: &'static str,
        /// How many resolutions it has.
        blocks: usize,
    },
    /// CLIP as transformers named it: `cond_stage_model.transformer.*`, and what stands before each name.
    Clip(&'static str),
    /// CLIP as `open_clip` names it: `cond_stage_model.model.*`
    OpenClip,
}

/// Where a tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// Its name in the file.
    pub name: String,
    /// It is this part of this many equal parts of the first dimension.
    pub part: Option<(usize, usize)>,
    /// It may have two more dimensions of size 1.
    pub squeeze: bool,
}

impl Location {
    fn at(name: String) -> Self {
        Self { name, part: None, squeeze: false }
    }

    /// The shape in the file of what has the shape `expected`.
    pub fn shape(&self, expected: &[usize]) -> Vec<usize> {
        let mut shape = expected.to_vec();
        if let (Some((_, parts)), Some(first)) = (self.part, shape.first_mut()) {
            *first *= parts;
        }
        shape
    }
}

pub(super) const UNET: &str = "model.diffusion_model.";
pub(super) const VAE: &str = "first_stage_model.";
pub(super) const CLIP: &str = "cond_stage_model.transformer.";
pub(super) const OPEN_CLIP: &str = "cond_stage_model.model.";

impl Naming {
    /// Where the tensor is that diffusers or transformers call `name`.
    pub fn place(&self, name: &str) -> Location {
        match self {
            Self::Diffusers => Location::at(name.to_owned()),
            Self::UNet(layout) => Location::at(format!("{UNET}{}", unet(name, layout))),
            Self::Vae { prefix, blocks } => {
                let name = vae(name, *blocks);
                Location { squeeze: name.contains(".attn_1."), ..Location::at(format!("{prefix}{name}")) }
            }
            Self::Clip(prefix) => Location::at(format!("{prefix}{}", name.strip_prefix("text_model.").unwrap_or(name))),
            Self::OpenClip => {
                let (name, part) = open_clip(name);
                Location { part, ..Location::at(format!("{OPEN_CLIP}{name}")) }
            }
        }
    }
}

/// The first of `names` that `name` begins with (up to a dot), replaced.
fn replaced(name: &str, names: &[(&str, &str)]) -> Option<String> {
    names.iter().find_map(|(ours, theirs)| {
        let rest = name.strip_prefix(ours)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{theirs}{rest}"))
    })
}

/// `rest` of a name split at its first dot, the first part being a number.
fn number(rest: &str) -> Option<(usize, &str)> {
    let (number, rest) = rest.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

fn unet(name: &str, layout: &Layout) -> String {
    const ENDS: [(&str, &str); 5] = [
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
    ];
    const RESNET: [(&str, &str); 6] = [
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("time_emb_proj", "emb_layers.1"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("conv_shortcut", "skip_connection"),
    ];
    let resnet = |rest: &str| replaced(rest, &RESNET).unwrap_or_else(|| rest.to_owned());
    // One block of the original for each layer of a level, and one for what changes the resolution.
    let level = |rest: &str, first: usize| {
        let (level, rest) = number(rest)?;
        let (kind, rest) = rest.split_once('.')?;
        let (layer, rest) = number(rest)?;
        let block = first + level * (layout.layers + 1) + layer;
        Some(match kind {
            "resnets" => format!("{block}.0.{}", resnet(rest)),
            "attentions" => format!("{block}.1.{rest}"),
            "downsamplers" => format!("{}.0.{}", block + layout.layers, replaced(rest, &[("conv", "op")])?),
            _ => {
                let attended = layout.attention.iter().rev().nth(level).is_some_and(|&attention| attention);
                format!("{}.{}.{rest}", block + layout.layers, 1 + usize::from(attended))
            }
        })
    };
    let middle = |rest: &str| {
        let (kind, rest) = rest.split_once('.')?;
        let (i, rest) = number(rest)?;
        Some(if kind == "resnets" { format!("{}.{}", 2 * i, resnet(rest)) } else { format!("1.{rest}") })
    };
    let found = if let Some(rest) = name.strip_prefix("down_blocks.") {
        level(rest, 1).map(|place| format!("input_blocks.{place}"))
    } else if let Some(rest) = name.strip_prefix("up_blocks.") {
        level(rest, 0).map(|place| format!("output_blocks.{place}"))
    } else if let Some(rest) = name.strip_prefix("mid_block.") {
        middle(rest).map(|place| format!("middle_block.{place}"))
    } else {
        replaced(name, &ENDS)
    };
    found.unwrap_or_else(|| name.to_owned())
}

fn vae(name: &str, blocks: usize) -> String {
    const ATTENTION: [(&str, &str); 5] =
        [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")];
    let resnet = |rest: &str| replaced(rest, &[("conv_shortcut", "nin_shortcut")]).unwrap_or_else(|| rest.to_owned());
    let inner = |rest: &str| {
        if let Some(rest) = rest.strip_prefix("mid_block.") {
            let (kind, rest) = rest.split_once('.')?;
            let (i, rest) = number(rest)?;
            return Some(if kind == "resnets" {
                format!("mid.block_{}.{}", i + 1, resnet(rest))
            } else {
                format!("mid.attn_1.{}", replaced(rest, &ATTENTION)?)
            });
        }
        let (side, rest) = rest.split_once("_blocks.")?;
        let (level, rest) = number(rest)?;
        let level = if side == "up" { blocks.checked_sub(1 + level)? } else { level };
        let (kind, rest) = rest.split_once('.')?;
        let (i, rest) = number(rest)?;
        Some(if kind == "resnets" {
            format!("{side}.{level}.block.{i}.{}", resnet(rest))
        } else {
            format!("{side}.{level}.{side}sample.{rest}")
        })
    };
    let Some((half, rest)) = name.split_once('.').filter(|(half, _)| ["encoder", "decoder"].contains(half)) else {
        return name.to_owned();
    };
    let rest = inner(rest).or_else(|| replaced(rest, &[("conv_norm_out", "norm_out")]));
    rest.map_or_else(|| name.to_owned(), |rest| format!("{half}.{rest}"))
}

fn open_clip(name: &str) -> (String, Option<(usize, usize)>) {
    const ENDS: [(&str, &str); 3] = [
        ("embeddings.token_embedding", "token_embedding"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm", "ln_final"),
    ];
    const LAYER: [(&str, &str); 5] = [
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("self_attn.out_proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ];
    let name = name.strip_prefix("text_model.").unwrap_or(name);
    let layer = || {
        let (layer, rest) = number(name.strip_prefix("encoder.layers.")?)?;
        // Queries, keys and values are one matrix.
        for (i, projection) in ["q", "k", "v"].iter().enumerate() {
            if let Some(leaf) = rest.strip_prefix(&format!("self_attn.{projection}_proj.")) {
                return Some((format!("transformer.resblocks.{layer}.attn.in_proj_{leaf}"), Some((i, 3))));
            }
        }
        Some((format!("transformer.resblocks.{layer}.{}", replaced(rest, &LAYER)?), None))
    };
    layer().or_else(|| Some((replaced(name, &ENDS)?, None))).unwrap_or_else(|| (name.to_owned(), None))
}
