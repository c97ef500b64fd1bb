//! The CLIP text encoder (Radford et al. 2021, arXiv 2103.00020), and what can be learned of it: rows in front of the keys and values
//! of chosen self-attention layers (prefix tuning: Li and Liang 2021, arXiv 2101.00190), and vectors of new words.
//!
//! Weight names are transformers' `CLIPTextModel`.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::compute::Compute;
use super::error::{Error, Result};
use super::kernels::AttnMask;
use super::ops::{self, LinearWeights, NormWeights};
use super::tape::Tracked;
use super::weights::{Part, Scope};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HiddenAct {
    QuickGelu,
    Gelu,
}

/// `config.json` of a `CLIPTextModel`, with transformers' defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    hidden_act: HiddenAct,
    layer_norm_eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Config {
    pub fn load(part: &Part) -> Result<Self> {
        let config: Self = part.parse()?;
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(Error::Unsupported {
                path: part.path.clone(),
                setting: "num_attention_heads".into(),
                value: config.num_attention_heads.to_string(),
                supported: format!("a divisor of hidden_size {}", config.hidden_size),
            });
        }
        let unsupported = |setting: &str, value: String, supported: &str| Error::Unsupported {
            path: part.path.clone(),
            setting: setting.into(),
            value,
            supported: supported.into(),
        };
        if config.num_hidden_layers == 0 {
            return Err(unsupported("num_hidden_layers", "0".into(), "1 or more"));
        }
        if !(config.layer_norm_eps.is_finite() && config.layer_norm_eps > 0.0) {
            return Err(unsupported("layer_norm_eps", config.layer_norm_eps.to_string(), "above 0"));
        }
        Ok(config)
    }
}

/// The rows that one concept puts in front of one layer's keys and values, each [n, D].
#[derive(Clone)]
pub struct PrefixLayer {
    /// Counted from 0.
    pub layer: usize,
    /// k*
    pub key: Tracked,
    /// v*
    pub value: Tracked,
    /// Added to their logits; -∞ is exactly the base model.
    pub bias: f32,
}

/// What is put into one text encoder beside its own weights.
#[derive(Clone, Default)]
pub struct Additions {
    /// Several of one layer stand side by side: a concept each.
    pub rows: Vec<PrefixLayer>,
    /// The vectors [n, D] of new words, in the order of their ids, which are those behind the vocabulary.
    pub words: Vec<Tracked>,
}

impl Additions {
    /// The first layer that reads something else because of it; none where the words themselves do, or where nothing does.
    fn first_layer(&self) -> Option<usize> {
        self.rows.iter().map(|rows| rows.layer).min().filter(|_| self.words.is_empty())
    }
}

/// Texts on their way through a text encoder.
pub struct Begun {
    token_ids: Tensor,
    /// The first layer that is still to come.
    layer: usize,
    /// What enters it, [B, T, D]; none where the words themselves change.
    hidden: Option<Tensor>,
}

struct Layer {
    norm1: NormWeights,
    q: LinearWeights,
    k: LinearWeights,
    v: LinearWeights,
    out: LinearWeights,
    norm2: NormWeights,
    fc1: LinearWeights,
    fc2: LinearWeights,
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &Config) -> Result<Self> {
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let attention = scope.at("self_attn");
        let mlp = scope.at("mlp");
        Ok(Self {
            norm1: scope.at("layer_norm1").norm(d, eps)?,
            q: attention.at("q_proj").linear(d, d)?,
            k: attention.at("k_proj").linear(d, d)?,
            v: attention.at("v_proj").linear(d, d)?,
            out: attention.at("out_proj").linear(d, d)?,
            norm2: scope.at("layer_norm2").norm(d, eps)?,
            fc1: mlp.at("fc1").linear(d, config.intermediate_size)?,
            fc2: mlp.at("fc2").linear(config.intermediate_size, d)?,
        })
    }
}

/// CLIP's text transformer; its result is the last hidden state after the final norm.
pub struct TextEncoder {
    config: Config,
    compute: Compute,
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    final_norm: NormWeights,
}

impl TextEncoder {
    /// Build it from its config and weights.
    pub(crate) fn load(part: &Part) -> Result<Self> {
        let config = Config::load(part)?;
        let weights = &part.weights;
        // transformers 5 writes the names without the model's own prefix.
        let root = if weights.has("embeddings.token_embedding.weight") { "" } else { "text_model" };
        let model = weights.at(root);
        let d = config.hidden_size;
        let embeddings = model.at("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(&model.at("encoder.layers").at(i), &config))
            .collect::<Result<_>>()?;
        Ok(Self {
            token_embedding: embeddings.tensor("token_embedding.weight", &[config.vocab_size, d])?,
            position_embedding: embeddings.tensor("position_embedding.weight", &[config.max_position_embeddings, d])?,
            layers,
            final_norm: model.at("final_layer_norm").norm(d, config.layer_norm_eps)?,
            compute: weights.compute().clone(),
            config,
        })
    }

    /// Put the vectors [n, D] of a word behind the vocabulary, and give its first id.
    pub fn add_rows(&mut self, vectors: &Tensor) -> Result<usize> {
        let first = self.token_embedding.dims()[0];
        self.token_embedding = Tensor::cat(&[&self.token_embedding, &self.compute.weight(vectors)?], 0)?;
        Ok(first)
    }

    /// Layers; the paper concatenates to the last three.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// D, the width of a token and of a learned row.
    pub fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Tokens it knows.
    pub fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    /// The ids of words that are put behind the vocabulary, by how many vectors each has.
    pub fn ids_behind(&self, counts: impl IntoIterator<Item = usize>) -> Vec<Range<u32>> {
        let mut next = self.token_embedding.dims()[0] as u32;
        let mut ids_of = |count: usize| {
            let first = next;
            next += count as u32;
            first..next
        };
        counts.into_iter().map(&mut ids_of).collect()
    }

    /// The vectors [T, D] of tokens `ids`, as the vocabulary has them, in float32 on the CPU.
    ///
    /// # Errors
    /// An id that it does not have.
    pub fn vectors_of(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.compute.device())?;
        Ok(self.token_embedding.index_select(&ids, 0)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)
    }

    /// Tokens of a prompt, padding included.
    pub fn max_length(&self) -> usize {
        self.config.max_position_embeddings
    }

    /// Hidden state [B, T, D] of token ids [B, T] (u32) by `forward`: the text as the UNet reads it.
    pub fn forward(&self, token_ids: &Tensor, additions: Option<&Additions>) -> Result<Tracked> {
        let words = additions.map_or(&[][..], |additions| &additions.words);
        self.forward_from(0, &self.embed(token_ids, words)?, additions)
    }

    /// As far as the forward pass of these texts depends on nothing that `additions` bring: what is learned may change, and only the
    /// [rest](Self::finish) has to be done again.
    pub fn begin(&self, token_ids: &Tensor, additions: &Additions) -> Result<Begun> {
        let layer = additions.first_layer().unwrap_or(0);
        let hidden = if additions.words.is_empty() { Some(self.hidden_before(layer, token_ids)?) } else { None };
        Ok(Begun { token_ids: token_ids.clone(), layer, hidden })
    }

    /// The hidden state [B, T, D] of what was begun, with `additions` of the same layers and words.
    pub fn finish(&self, begun: &Begun, additions: &Additions) -> Result<Tracked> {
        match &begun.hidden {
            Some(hidden) => self.forward_from(begun.layer, &hidden.into(), Some(additions)),
            None => self.forward(&begun.token_ids, Some(additions)),
        }
    }

    /// What enters the first layer: [B, T] → [B, T, D].
    fn embed(&self, token_ids: &Tensor, words: &[Tracked]) -> Result<Tracked> {
        let (batch, length) = token_ids.dims2()?;
        if length > self.max_length() {
            return Err(Error::Setting(format!("{length} tokens: the text encoder reads {}", self.max_length())));
        }
        let d = self.hidden_size();
        let ids: Vec<u32> = token_ids.flatten_all()?.to_vec1()?;
        let known = self.token_embedding.dims()[0] as u32;
        // A place of a new word has some token's vector until its own is put there.
        let of_vocabulary: Vec<u32> = ids.iter().map(|&id| if id < known { id } else { 0 }).collect();
        let of_vocabulary = Tensor::new(of_vocabulary, self.compute.device())?;
        let mut tokens: Tracked = self.token_embedding.index_select(&of_vocabulary, 0)?.into();
        let mut first = known;
        for vectors in words {
            let count = vectors.value().dims()[0] as u32;
            let places: Vec<(u32, u32)> = (0u32..)
                .zip(&ids)
                .filter(|(_, id)| (first..first + count).contains(id))
                .map(|(place, id)| (place, id - first))
                .collect();
            tokens = ops::put_rows(&tokens, vectors, &places)?;
            first += count;
        }
        if let Some(odd) = ids.iter().find(|id| **id >= first) {
            return Err(Error::Setting(format!("token {odd}: the text encoder knows {first}")));
        }
        let tokens = ops::reshape(&tokens, &[batch, length, d])?;
        Ok(ops::add_constant(&tokens, &self.position_embedding.narrow(0, 0, length)?)?)
    }

    /// What enters layer `layer`, without rows before it.
    fn hidden_before(&self, layer: usize, token_ids: &Tensor) -> Result<Tensor> {
        let mut hidden = self.embed(token_ids, &[])?;
        for layer in &self.layers[..layer.min(self.layers.len())] {
            hidden = self.layer(layer, &hidden, &[])?;
        }
        Ok(hidden.value().clone())
    }

    /// The rest of the forward pass from what enters layer `first`.
    fn forward_from(&self, first: usize, hidden: &Tracked, additions: Option<&Additions>) -> Result<Tracked> {
        let all = || additions.iter().flat_map(|additions| &additions.rows);
        if let Some(odd) = all().find(|rows| !(first..self.layers.len()).contains(&rows.layer)) {
            let last = self.layers.len() - 1;
            return Err(Error::Setting(format!("layer {}: the text encoder has layers 0 to {last}", odd.layer)));
        }
        let mut hidden = hidden.clone();
        for (i, layer) in self.layers.iter().enumerate().skip(first) {
            let rows: Vec<_> = all().filter(|rows| rows.layer == i).collect();
            hidden = self.layer(layer, &hidden, &rows)?;
        }
        Ok(ops::layer_norm(&hidden, &self.final_norm)?)
    }

    /// The keys and values [T, D] of `layer` for one text [1, T]: where learned rows may start.
    pub fn keys_and_values(&self, layer: usize, token_ids: &Tensor) -> Result<(Tensor, Tensor)> {
        let hidden: Tracked = self.hidden_before(layer, token_ids)?.into();
        let layer = &self.layers[layer];
        let normed = ops::layer_norm(&hidden, &layer.norm1)?;
        let rows = |weights| Ok::<_, Error>(ops::linear(&normed, weights, None)?.value().squeeze(0)?);
        Ok((rows(&layer.k)?, rows(&layer.v)?))
    }

    fn layer(&self, layer: &Layer, hidden: &Tracked, rows: &[&PrefixLayer]) -> Result<Tracked> {
        let normed = ops::layer_norm(hidden, &layer.norm1)?;
        let q = ops::linear(&normed, &layer.q, None)?;
        let mut k = ops::linear(&normed, &layer.k, None)?;
        let mut v = ops::linear(&normed, &layer.v, None)?;
        let mut biases = Vec::new();
        for rows in rows.iter().rev() {
            k = ops::prepend_rows(&rows.key, &k)?;
            v = ops::prepend_rows(&rows.value, &v)?;
            biases.extend(vec![rows.bias; rows.key.value().dims2()?.0]);
        }
        biases.reverse();
        let mask = AttnMask::behind(&biases);
        let attended = ops::attention(&q, &k, &v, self.config.num_attention_heads, Some(mask))?;
        let hidden = ops::linear(&attended, &layer.out, Some(hidden))?;
        let inner = ops::linear(&ops::layer_norm(&hidden, &layer.norm2)?, &layer.fc1, None)?;
        let inner = match self.config.hidden_act {
            HiddenAct::QuickGelu => ops::quick_gelu(&inner)?,
            HiddenAct::Gelu => ops::gelu(&inner)?,
        };
        Ok(ops::linear(&inner, &layer.fc2, Some(&hidden))?)
    }
}
