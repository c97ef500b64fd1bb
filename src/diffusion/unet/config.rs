//! `config.json` of a diffusers `UNet2DConditionModel`. What the network would not do as the config says is refused by
//! name, never ignored.

use serde::Deserialize;
use serde_json::Value;

use crate::diffusion::error::{Error, Result};
use crate::diffusion::weights::Part;

/// A number for all blocks, or one a block.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum PerBlock {
    All(usize),
    Each(Vec<usize>),
}

impl PerBlock {
    fn get(&self, block: usize) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Each(list) => list[block],
        }
    }

    /// As the config writes it.
    fn as_written(&self) -> String {
        match self {
            Self::All(n) => n.to_string(),
            Self::Each(list) => format!("{list:?}"),
        }
    }

    fn fits(&self, blocks: usize) -> bool {
        match self {
            Self::All(n) => *n > 0,
            Self::Each(list) => list.len() == blocks && list.iter().all(|&n| n > 0),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(in crate::diffusion) struct Config {
    pub sample_size: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    layers_per_block: PerBlock,
    /// Heads, in spite of its name: a slip of diffusers that its files keep.
    attention_head_dim: PerBlock,
    num_attention_heads: Option<PerBlock>,
    transformer_layers_per_block: PerBlock,
    pub cross_attention_dim: usize,
    pub use_linear_projection: bool,
    /// Whether the products of queries and keys are in float32 where all else is in half precision.
    pub upcast_attention: bool,
    pub norm_num_groups: usize,
    pub norm_eps: f64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f64,
    pub downsample_padding: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sample_size: 64,
            in_channels: 4,
            out_channels: 4,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_block_types: ["CrossAttnDownBlock2D"; 3].into_iter().chain(["DownBlock2D"]).map(Into::into).collect(),
            up_block_types: ["UpBlock2D"].into_iter().chain(["CrossAttnUpBlock2D"; 3]).map(Into::into).collect(),
            layers_per_block: PerBlock::All(2),
            attention_head_dim: PerBlock::All(8),
            num_attention_heads: None,
            transformer_layers_per_block: PerBlock::All(1),
            cross_attention_dim: 1280,
            use_linear_projection: false,
            upcast_attention: false,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            downsample_padding: 1,
        }
    }
}

/// Settings with one value that this network implements; absent means that value.
fn fixed_settings() -> Vec<(&'static str, Vec<Value>)> {
    let none_or_false = vec![Value::Null, Value::Bool(false)];
    vec![
        ("act_fn", vec!["silu".into(), "swish".into()]),
        ("mid_block_type", vec!["UNetMidBlock2DCrossAttn".into()]),
        ("center_input_sample", none_or_false.clone()),
        ("only_cross_attention", none_or_false.clone()),
        ("dual_cross_attention", none_or_false.clone()),
        ("class_embed_type", vec![Value::Null]),
        ("addition_embed_type", vec![Value::Null]),
        ("encoder_hid_dim_type", vec![Value::Null]),
        ("num_class_embeds", vec![Value::Null]),
        ("resnet_time_scale_shift", vec!["default".into()]),
        ("time_embedding_type", vec!["positional".into()]),
        ("timestep_post_act", vec![Value::Null]),
        ("time_cond_proj_dim", vec![Value::Null]),
        ("conv_in_kernel", vec![3.into()]),
        ("conv_out_kernel", vec![3.into()]),
        ("mid_block_scale_factor", vec![1.into(), 1.0.into()]),
        ("attention_type", vec!["default".into()]),
        ("reverse_transformer_layers_per_block", vec![Value::Null]),
    ]
}

impl Config {
    pub(in crate::diffusion) fn load(part: &Part) -> Result<Self> {
        let unsupported = |setting: &str, value: String, supported: String| Error::Unsupported {
            path: part.path.clone(),
            setting: setting.into(),
            value,
            supported,
        };
        for (setting, allowed) in fixed_settings() {
            if let Some(value) = part.config.get(setting)
                && !allowed.contains(value)
            {
                let supported: Vec<String> = allowed.iter().map(Value::to_string).collect();
                return Err(unsupported(setting, value.to_string(), supported.join(" or ")));
            }
        }
        let config: Self = part.parse()?;
        let blocks = config.block_out_channels.len();
        if blocks == 0 || config.down_block_types.len() != blocks || config.up_block_types.len() != blocks {
            let list = |types: &[String]| format!("[{}]", types.join(", "));
            let value = format!("{} / {}", list(&config.down_block_types), list(&config.up_block_types));
            return Err(unsupported("down_block_types / up_block_types", value, format!("{blocks} of each")));
        }
        let types = [
            ("down_block_types", &config.down_block_types, ["CrossAttnDownBlock2D", "DownBlock2D"]),
            ("up_block_types", &config.up_block_types, ["CrossAttnUpBlock2D", "UpBlock2D"]),
        ];
        for (setting, given, known) in types {
            if let Some(odd) = given.iter().find(|t| !known.contains(&t.as_str())) {
                return Err(unsupported(setting, odd.clone(), known.join(" or ")));
            }
        }
        let per_block = [
            ("layers_per_block", &config.layers_per_block),
            ("attention_head_dim", config.heads_setting()),
            ("transformer_layers_per_block", &config.transformer_layers_per_block),
        ];
        for (setting, value) in per_block {
            if !value.fits(blocks) {
                let supported = format!("one number above 0, or {blocks} of them");
                return Err(unsupported(setting, value.as_written(), supported));
            }
        }
        for (block, &channels) in config.block_out_channels.iter().enumerate() {
            let heads = config.heads(block);
            if config.norm_num_groups == 0 || channels % config.norm_num_groups != 0 || channels % heads != 0 {
                let supported = format!("multiples of norm_num_groups {} and of {heads} heads", config.norm_num_groups);
                return Err(unsupported("block_out_channels", channels.to_string(), supported));
            }
        }
        // Every block but the last halves the latents.
        let multiple = 1usize.checked_shl((blocks - 1) as u32).unwrap_or(usize::MAX);
        if config.sample_size == 0 || !config.sample_size.is_multiple_of(multiple) {
            let supported =
                format!("1 or more, and a multiple of {multiple}: {blocks} blocks halve it {} times", blocks - 1);
            return Err(unsupported("sample_size", config.sample_size.to_string(), supported));
        }
        if !(config.norm_eps.is_finite() && config.norm_eps > 0.0) {
            return Err(unsupported("norm_eps", config.norm_eps.to_string(), "above 0".into()));
        }
        Ok(config)
    }

    /// Numbers in the first block's result, the largest there is, for one picture.
    pub(in crate::diffusion) fn activation(&self) -> usize {
        let channels = self.block_out_channels.first().copied().unwrap_or(0);
        self.sample_size.saturating_mul(self.sample_size).saturating_mul(channels)
    }

    fn heads_setting(&self) -> &PerBlock {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim)
    }

    pub(in crate::diffusion) fn heads(&self, block: usize) -> usize {
        self.heads_setting().get(block)
    }

    pub(in crate::diffusion) fn layers(&self, block: usize) -> usize {
        self.layers_per_block.get(block)
    }

    pub(in crate::diffusion) fn transformer_layers(&self, block: usize) -> usize {
        self.transformer_layers_per_block.get(block)
    }

    pub(in crate::diffusion) fn down_has_attention(&self, block: usize) -> bool {
        self.down_block_types[block] == "CrossAttnDownBlock2D"
    }

    /// `block` counted from the bottom, as up blocks are.
    pub(in crate::diffusion) fn up_has_attention(&self, block: usize) -> bool {
        self.up_block_types[block] == "CrossAttnUpBlock2D"
    }
}
