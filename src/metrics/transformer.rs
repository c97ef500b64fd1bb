//! The transformer layer that all score models are made of, for inference, and the tensors of a weights file by name.

use candle_core::{Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear};
use serde::Deserialize;

use super::Error;
use super::file::Weights;
use crate::diffusion::ops::{self, Form, LinearWeights, NormWeights};
use crate::diffusion::{AttnMask, Tracked};

/// The activation between the two halves of an MLP.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Activation {
    /// x · sigmoid(1.702 x)
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// With the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// With the hyperbolic tangent.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
}

/// The part of a `config.json` that decides the shapes of layers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TowerConfig {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) hidden_act: Activation,
    pub(super) layer_norm_eps: f64,
}

impl TowerConfig {
    /// Why the heads do not divide the width, if they do not.
    pub(super) fn problem(&self) -> Option<String> {
        let wrong = self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads);
        wrong.then(|| {
            let (size, heads) = (self.hidden_size, self.num_attention_heads);
            format!("hidden_size {size} is no multiple of num_attention_heads {heads}")
        })
    }
}

/// What a layer's tensors are called.
pub(super) struct LayerNames {
    pub(super) norms: [&'static str; 2],
    /// Query, key and value.
    pub(super) projections: [&'static str; 3],
    /// Whether those three have a bias.
    pub(super) bias: bool,
    pub(super) out: &'static str,
    pub(super) mlp: [&'static str; 2],
}

/// A part of the weights file: the tensors whose names begin with a prefix.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(weights: &'a Weights) -> Self {
        Self { weights, prefix: String::new() }
    }

    pub(super) fn of(&self, name: impl std::fmt::Display) -> Self {
        Self { weights: self.weights, prefix: format!("{}{name}.", self.prefix) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.has(&format!("{}{name}", self.prefix))
    }

    pub(super) fn get(&self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, Error> {
        self.weights.get(&format!("{}{name}", self.prefix), shape)
    }

    pub(super) fn linear(&self, name: &str, from: usize, to: usize, bias: bool) -> std::result::Result<Linear, Error> {
        let scope = self.of(name);
        let bias = if bias { Some(scope.get("bias", &[to])?) } else { None };
        Ok(Linear::new(scope.get("weight", &[to, from])?, bias))
    }

    pub(super) fn norm(&self, name: &str, size: usize, eps: f64) -> std::result::Result<LayerNorm, Error> {
        let scope = self.of(name);
        Ok(LayerNorm::new(scope.get("weight", &[size])?, scope.get("bias", &[size])?, eps))
    }

    pub(super) fn embedding(&self, name: &str, count: usize, size: usize) -> std::result::Result<Embedding, Error> {
        Ok(Embedding::new(self.of(name).get("weight", &[count, size])?, size))
    }
}

/// Attention and MLP, each after its norm and added to what came in.
pub(super) struct Layer {
    norm1: NormWeights,
    query: LinearWeights,
    key: LinearWeights,
    value: LinearWeights,
    out: LinearWeights,
    norm2: NormWeights,
    fc1: LinearWeights,
    fc2: LinearWeights,
    heads: usize,
    activation: Activation,
}

impl Layer {
    pub(super) fn load(scope: &Scope, config: &TowerConfig, names: &LayerNames) -> std::result::Result<Self, Error> {
        let (size, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let linear = |name: &str, from: usize, to: usize, bias: bool| {
            let scope = scope.of(name);
            let weight = scope.get("weight", &[to, from])?;
            let bias = if bias { Some(scope.get("bias", &[to])?) } else { None };
            Ok::<_, Error>(LinearWeights { form: Form::of(weight.device(), weight.dtype()), weight, bias })
        };
        let norm = |name: &str| {
            let scope = scope.of(name);
            let (gamma, beta) = (scope.get("weight", &[size])?, scope.get("bias", &[size])?);
            Ok::<_, Error>(NormWeights { form: Form::of(gamma.device(), gamma.dtype()), gamma, beta, eps })
        };
        let [query, key, value] = names.projections.map(|name| linear(name, size, size, names.bias));
        Ok(Self {
            norm1: norm(names.norms[0])?,
            query: query?,
            key: key?,
            value: value?,
            out: linear(names.out, size, size, true)?,
            norm2: norm(names.norms[1])?,
            fc1: linear(names.mlp[0], size, inner, true)?,
            fc2: linear(names.mlp[1], inner, size, true)?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
        })
    }

    /// [B, T, D] to the same.
    fn forward(&self, hidden: &Tracked, mask: Option<AttnMask>) -> Result<Tracked> {
        let normed = ops::layer_norm(hidden, &self.norm1)?;
        let query = ops::linear(&normed, &self.query, None)?;
        let key = ops::linear(&normed, &self.key, None)?;
        let value = ops::linear(&normed, &self.value, None)?;
        let attended = ops::attention(&query, &key, &value, self.heads, mask)?;
        let hidden = ops::linear(&attended, &self.out, Some(hidden))?;
        let inner = ops::linear(&ops::layer_norm(&hidden, &self.norm2)?, &self.fc1, None)?;
        let inner = match self.activation {
            Activation::QuickGelu => ops::quick_gelu(&inner)?,
            Activation::Gelu => ops::gelu(&inner)?,
            Activation::GeluTanh => (&inner.value().gelu()?).into(),
        };
        ops::linear(&inner, &self.fc2, Some(&hidden))
    }
}

/// `hidden` [B, T, D] through all `layers`, by the operations of the base model: its kernels on the CPU.
pub(super) fn through(layers: &[Layer], hidden: &Tensor, mask: Option<&AttnMask>) -> Result<Tensor> {
    let through = || {
        let mut hidden: Tracked = (&hidden.contiguous()?).into();
        for layer in layers {
            hidden = layer.forward(&hidden, mask.cloned())?;
        }
        Ok(hidden.value().clone())
    };
    // The CPU's many small kernels need not wake a thread of the pool each if this is one. On a graphics card another thread has
    // another stream, which waits for nothing of this one's.
    if hidden.device().is_cpu() { rayon::scope(|_| through()) } else { through() }
}
