//! The fixtures of `tests/parity/export.py`, and the one way results are compared with them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use catbench::diffusion::{
    Additions, BaseModel, Compute, Denoising, ModelFiles, PictureNoise, PrefixLayer, Texts, denoise,
};
use catbench::protocol::{DeviceName, FloatType, ModelSpec, NoiseKind, SamplerKind};
use serde_json::Value;

/// The pipelines with references.
pub const MODELS: [&str; 2] = ["tiny_sd1", "tiny_sd2"];

/// Relative error allowed of everything, ten guided steps and their picture included.
pub const TOLERANCE: f64 = 1e-5;

/// The folder of the project. Cargo tells it; so does whoever carries the tests to another machine.
pub fn project() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The folder `tests/fixtures/<name>`.
pub fn folder(name: &str) -> PathBuf {
    project().join("tests/fixtures").join(name)
}

/// The folder of the demo's base model.
pub fn demo() -> PathBuf {
    project().join("workspaces/demo/base_model")
}

/// What computes in float32: the CPU kernels, and the tensor operations that compute on graphics cards. With the feature `cuda` these
/// compute on the first card.
fn computes() -> Vec<Compute> {
    if cfg!(feature = "cuda") {
        return vec![Compute::open(DeviceName::Cuda(0), FloatType::F32).unwrap()];
    }
    vec![Compute::cpu(), Compute::cpu().by_tensor_operations()]
}

/// The base model `spec`, once for each way to compute.
pub fn every_form(spec: &ModelSpec) -> Vec<BaseModel> {
    let files = ModelFiles::open(spec).unwrap();
    let hash = files.hash(&mut |_, _| {}).unwrap();
    computes().iter().map(|compute| BaseModel::from_files(&files, hash.clone(), compute).unwrap()).collect()
}

/// The base model in `folder`, computed by the first way to compute.
pub fn base_model(folder: &Path) -> BaseModel {
    every_form(&ModelSpec::at(folder)).remove(0)
}

/// Every base model of [`MODELS`] with its reference, in [`every_form`].
pub fn models() -> impl Iterator<Item = (Reference, BaseModel)> {
    MODELS.into_iter().flat_map(|name| {
        let forms = every_form(&ModelSpec::at(&folder(name))).into_iter();
        forms.map(|model| (Reference::load(name).on(&model), model))
    })
}

/// Tensors, where `model` computes.
pub fn on(model: &BaseModel, tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let there = |x: Tensor| x.to_device(model.compute.device()).unwrap();
    tensors.into_iter().map(|(name, x)| (name, there(x))).collect()
}

/// Inputs and outputs that PyTorch wrote.
pub struct Reference {
    /// Which fixture, for messages.
    pub name: String,
    tensors: HashMap<String, Tensor>,
    /// Settings and token ids.
    pub json: Value,
}

impl Reference {
    /// Read `reference.safetensors` and `reference.json` of the fixture `name`.
    pub fn load(name: &str) -> Self {
        Self::open(&folder(name))
    }

    /// Read `reference.safetensors` and `reference.json` in `folder`.
    pub fn open(folder: &Path) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy();
        let tensors = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
        let json = std::fs::read_to_string(folder.join("reference.json")).unwrap();
        Self { name: name.into(), tensors, json: serde_json::from_str(&json).unwrap() }
    }

    /// The same, named after what computes `model` too, with the tensors there.
    pub fn on(self, model: &BaseModel) -> Self {
        let name = format!("{} on {}", self.name, model.compute);
        Self { name, tensors: on(model, self.tensors), ..self }
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.name)).clone()
    }

    /// An integer tensor as u32.
    pub fn ids(&self, name: &str) -> Tensor {
        self.get(name).to_dtype(DType::U32).unwrap()
    }

    /// A one-dimensional integer tensor.
    pub fn timesteps(&self, name: &str) -> Vec<u32> {
        self.ids(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The texts' hidden states: the captions with one row of prefix, and the empty text without.
    pub fn contexts(&self, model: &BaseModel) -> (Tensor, Tensor) {
        let encode =
            |ids: &str, prefix| model.texts[0].encoder.forward(&self.ids(ids), prefix).unwrap().value().clone();
        (encode("text.ids", Some(&self.prefix(1, 0.0))), encode("ddim.uncond_ids", None))
    }

    /// The latents after as many guided DDIM steps as `ddim.<steps>` says, from `ddim.latents`.
    pub fn guided_latents(&self, model: &BaseModel, steps: &str) -> Tensor {
        let (context, uncond) = self.contexts(model);
        let seeds: Vec<u64> = (0..context.dims()[0] as u64).collect();
        let job = Denoising {
            texts: &Texts { cond: context.into(), uncond: uncond.into() },
            otherwise: None,
            guidance_scales: &vec![self.json["ddim"]["guidance_scale"].as_f64().unwrap(); seeds.len()],
            steps: self.json["ddim"][steps].as_u64().unwrap() as usize,
            sampler: SamplerKind::Ddim,
            karras: false,
            eta: 0.0,
        };
        let mut go_on = |_, _| ControlFlow::Continue(());
        let mut noise = PictureNoise::new(NoiseKind::Catbench, &seeds);
        denoise(model, &self.get("ddim.latents"), &mut noise, &job, &mut go_on).unwrap().unwrap()
    }

    /// The layers with a prefix.
    pub fn layers(&self) -> Vec<usize> {
        self.json["layers"].as_array().unwrap().iter().map(|l| l.as_u64().unwrap() as usize).collect()
    }

    /// The fixture's `n` rows in every layer of [`layers`](Self::layers).
    pub fn prefix(&self, n: usize, bias: f32) -> Additions {
        let rows = |layer| PrefixLayer {
            layer,
            key: self.get(&format!("prefix.n{n}.k.{layer}")).into(),
            value: self.get(&format!("prefix.n{n}.v.{layer}")).into(),
            bias,
        };
        Additions { rows: self.layers().into_iter().map(rows).collect(), words: Vec::new() }
    }

    /// Collects comparisons with this reference.
    pub fn compare(&self) -> Comparison<'_> {
        Comparison { reference: self, failures: Vec::new() }
    }
}

/// Comparisons of one test: all are made and printed before any fails the test.
pub struct Comparison<'a> {
    reference: &'a Reference,
    failures: Vec<String>,
}

impl Comparison<'_> {
    /// `got` must be the reference `name` within [`TOLERANCE`].
    pub fn check(&mut self, name: &str, got: &Tensor) {
        self.compare(name, got, &self.reference.get(name));
    }

    /// `got` must be `want`, which several references make, within [`TOLERANCE`].
    pub fn check_against(&mut self, name: &str, got: &Tensor, want: &Tensor) {
        self.compare(name, got, want);
    }

    fn compare(&mut self, name: &str, got: &Tensor, want: &Tensor) {
        let error = relative_error(got, want);
        let line = format!("{} {name}: relative error {error:.1e} (allowed {TOLERANCE:.0e})", self.reference.name);
        println!("{line}");
        if error.is_nan() || error > TOLERANCE {
            self.failures.push(line);
        }
    }
}

impl Drop for Comparison<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.failures.is_empty(), "\n{}", self.failures.join("\n"));
        }
    }
}

/// ‖got - want‖ / ‖want‖ in float64.
pub fn relative_error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims(), "shapes differ");
    let (got, want) = (numbers(got), numbers(want));
    let distance: f64 = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = want.iter().map(|b| b * b).sum();
    (distance / norm).sqrt()
}

/// All numbers of a tensor in float64.
pub fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
