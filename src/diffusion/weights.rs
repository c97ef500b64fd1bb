//! The frozen weights of one part of a model (a UNet, a text encoder, ...), by the names diffusers and transformers give
//! them, whatever files they are in and whatever those call them. What is missing or misshapen is an error that names
//! file, tensor and both shapes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::compute::Compute;
use super::error::{Error, Result};
use super::ops::{ConvWeights, Form, LinearWeights, NormWeights};
use super::original::{Location, Naming};
use super::tensor_file::{TensorFile, TensorInfo};

/// The tensors of one part of a model.
#[derive(Clone)]
pub struct Weights {
    /// A file, or the folder of the shards.
    place: PathBuf,
    files: Vec<Arc<TensorFile>>,
    /// Which file has the tensor of that name.
    index: Arc<HashMap<String, usize>>,
    naming: Naming,
    compute: Compute,
    audit: Option<SharedAudit>,
}

/// What a part asked of its weights while it was built without reading them.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Everything missing or misshapen.
    pub problems: Vec<Error>,
    /// Tensors of the files that are used, by their names there.
    pub used: BTreeSet<String>,
    /// Numbers in them, by type.
    pub elements: BTreeMap<String, usize>,
    /// Bytes they take there.
    pub bytes: usize,
}

/// An [`Audit`] that every copy of the weights notes in.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedAudit(Arc<Mutex<Audit>>);

impl SharedAudit {
    pub fn lock(&self) -> MutexGuard<'_, Audit> {
        // A panic while something was noted leaves at most that note out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a component's weights may have, without their ending.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];

/// Problems noted in one audit before it gives up.
const MAX_PROBLEMS: usize = 1000;

/// The largest number that makes sense in a config.
const MAX_SIZE: u64 = 1 << 24;

impl Weights {
    /// Open the weights in `folder`: one file, or the shards that an `.index.json` lists; full precision before the `fp16`
    /// variant, safetensors before PyTorch's `.bin`.
    pub fn open(folder: &Path) -> Result<Self> {
        let files =
            Self::files(folder)?.iter().map(|path| Ok(Arc::new(TensorFile::open(path)?))).collect::<Result<_>>()?;
        Ok(Self::new(folder.to_owned(), files, Naming::Diffusers))
    }

    /// The weights that `file` has under the names of `naming`.
    pub(super) fn of_file(file: &Arc<TensorFile>, naming: Naming) -> Self {
        Self::new(file.path().to_owned(), vec![Arc::clone(file)], naming)
    }

    fn new(place: PathBuf, files: Vec<Arc<TensorFile>>, naming: Naming) -> Self {
        let names =
            files.iter().enumerate().flat_map(|(i, file)| file.tensors().map(move |(name, _)| (name.to_owned(), i)));
        let index = Arc::new(names.collect());
        Self { place, files, index, naming, compute: Compute::cpu(), audit: None }
    }

    /// The same weights, but none is read: each request is checked and noted in the audit, and answered with zeros that
    /// take no memory, whatever the file has.
    pub(super) fn audited(&self) -> (Self, SharedAudit) {
        let audit = SharedAudit::default();
        (Self { audit: Some(audit.clone()), ..self.clone() }, audit)
    }

    /// The files [`open`](Self::open) would read, in a fixed order.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        for variant in ["", ".fp16"] {
            for form in ["safetensors", "bin"] {
                for stem in STEMS {
                    let single = folder.join(format!("{stem}{variant}.{form}"));
                    if single.is_file() {
                        return Ok(vec![single]);
                    }
                    let list = folder.join(format!("{stem}.{form}.index{variant}.json"));
                    if list.is_file() {
                        return Self::shards_of(&list, folder);
                    }
                }
            }
        }
        let cause =
            format!("no weights here; looked for {}.safetensors or .bin, sharded and fp16 too", STEMS.join(", "));
        Err(Error::Format { path: folder.to_owned(), cause })
    }

    fn shards_of(list: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: HashMap<String, String>,
        }
        let index: Index = read_json(list)?;
        let mut names: Vec<String> = index.weight_map.into_values().collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            let cause = "its weight_map is empty: it names no file of weights".into();
            return Err(Error::Format { path: list.to_owned(), cause });
        }
        if let Some(odd) = names.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(Error::Format {
                path: list.to_owned(),
                cause: format!("names a shard outside its folder: {odd}"),
            });
        }
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    /// A file, or the folder of the shards.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// The files they are in.
    pub(super) fn opened(&self) -> &[Arc<TensorFile>] {
        &self.files
    }

    /// Where they compute.
    pub(super) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.index.contains_key(&self.naming.place(name).name)
    }

    /// The tensor `name` as float32 on the CPU; its shape must be `expected`.
    pub fn tensor(&self, name: &str, expected: &[usize]) -> Result<Tensor> {
        let place = self.naming.place(name);
        let found = self.find(&place, expected);
        let Some(audit) = &self.audit else {
            let (file, info) = found?;
            let rows = place.part.map(|(part, _)| part * expected[0]..(part + 1) * expected[0]);
            return Ok(file.read(&place.name, info, rows)?.reshape(expected)?);
        };
        let mut audit = audit.lock();
        match found {
            Ok((_, info)) => {
                let elements: usize = expected.iter().product();
                *audit.elements.entry(info.type_name.clone()).or_default() += elements;
                audit.bytes += elements * info.dtype.map_or(0, |dtype| dtype.size_in_bytes());
            }
            // More would be a wrong config rather than a damaged file.
            Err(problem) if audit.problems.len() >= MAX_PROBLEMS => return Err(problem),
            Err(problem) => audit.problems.push(problem),
        }
        audit.used.insert(place.name);
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(expected)?)
    }

    /// The tensor at `place`, if it is one of floats and as large as `expected` asks for.
    fn find(&self, place: &Location, expected: &[usize]) -> Result<(&TensorFile, &TensorInfo)> {
        let expected = place.shape(expected);
        let found = self.index.get(&place.name).map(|&file| &self.files[file]);
        let found = found.and_then(|file| file.info(&place.name).map(|info| (file, info)));
        let Some((file, info)) = found else {
            return Err(Error::MissingTensor { path: self.place.clone(), tensor: place.name.clone(), expected });
        };
        // A linear map may be stored as the 1 × 1 convolution that it is.
        let squeezed = info.shape.strip_suffix(&[1, 1]).filter(|_| place.squeeze);
        if info.shape != expected && squeezed != Some(&expected) {
            return Err(Error::TensorShape {
                path: file.path().to_owned(),
                tensor: place.name.clone(),
                found: info.shape.clone(),
                expected,
            });
        }
        if !info.is_float() {
            let cause = format!("tensor {} holds {}; weights are F16, BF16, F32 or F64", place.name, info.type_name);
            return Err(file.error(cause));
        }
        Ok((file, info))
    }

    /// The tensors below `name`.
    pub fn at(&self, name: impl Display) -> Scope<'_> {
        Scope { weights: self, prefix: name.to_string() }
    }
}

/// What one part of a model is built from.
#[derive(Clone)]
pub(crate) struct Part {
    /// Its config, as diffusers and transformers write it.
    pub config: Value,
    /// The file the config is from, or the one it was told from.
    pub path: PathBuf,
    pub weights: Weights,
}

impl Part {
    /// What diffusers wrote to `folder`; the config is that at `config`, where one is given.
    pub fn open(folder: &Path, config: Option<PathBuf>) -> Result<Self> {
        let path = config.unwrap_or_else(|| folder.join("config.json"));
        Ok(Self { config: read_json(&path)?, path, weights: Weights::open(folder)? })
    }

    /// The same part, to be built without reading anything, and the audit of what it asks for.
    pub(super) fn audited(&self) -> (Self, SharedAudit) {
        let (weights, audit) = self.weights.audited();
        (Self { config: self.config.clone(), path: self.path.clone(), weights }, audit)
    }

    /// Numbers in the weights that `build` asks for; none is read.
    pub(super) fn count<T>(&self, build: impl FnOnce(&Self) -> Result<T>) -> Result<usize> {
        let (part, audit) = self.audited();
        build(&part)?;
        Ok(audit.lock().elements.values().sum())
    }

    /// The same part, to compute by `compute`.
    pub fn on(&self, compute: &Compute) -> Self {
        let weights = Weights { compute: compute.clone(), ..self.weights.clone() };
        Self { config: self.config.clone(), path: self.path.clone(), weights }
    }

    /// The config as `T`.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        check_sizes(&self.config, &self.path)?;
        serde_json::from_value(self.config.clone())
            .map_err(|e| Error::Format { path: self.path.clone(), cause: e.to_string() })
    }
}

/// Refuse sizes that no model has, with which nothing can be computed.
pub(super) fn check_sizes(config: &Value, path: &Path) -> Result<()> {
    match config {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > MAX_SIZE) => {
            Err(Error::Format { path: path.to_owned(), cause: format!("{number} is no size of a model") })
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_sizes(item, path)),
        Value::Object(entries) => entries.values().try_for_each(|entry| check_sizes(entry, path)),
        _ => Ok(()),
    }
}

/// The most bytes of a file beside the weights: the largest is a tokenizer, of 2 or 3 MB.
const MAX_BESIDE: u64 = 64 << 20;

/// All of a file beside the weights.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    crate::fs::read(path, MAX_BESIDE).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Parse a JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = bytes_of(path)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Format { path: path.to_owned(), cause: e.to_string() })
}

/// A place in the tree of names.
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    /// One step down.
    #[must_use]
    pub fn at(&self, name: impl Display) -> Self {
        let prefix = if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { weights: self.weights, prefix }
    }

    fn name(&self, leaf: &str) -> String {
        self.at(leaf).prefix
    }

    /// Whether nothing is read, so that there is nothing to lay out.
    fn is_hollow(&self) -> bool {
        self.weights.audit.is_some()
    }

    /// What computes on these weights, and where.
    fn form(&self) -> Form {
        self.weights.compute.form()
    }

    /// Whether there is a tensor `leaf` here.
    pub fn has(&self, leaf: &str) -> bool {
        self.weights.has(&self.name(leaf))
    }

    /// The tensor `leaf` of this place, where it computes.
    pub fn tensor(&self, leaf: &str, expected: &[usize]) -> Result<Tensor> {
        Ok(self.weights.compute.weight(&self.read(leaf, expected)?)?)
    }

    /// The tensor `leaf` of this place as float32 on the CPU.
    fn read(&self, leaf: &str, expected: &[usize]) -> Result<Tensor> {
        self.weights.tensor(&self.name(leaf), expected)
    }

    /// A linear map with bias.
    pub(crate) fn linear(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        let bias = Some(self.tensor("bias", &[out])?);
        Ok(LinearWeights { bias, ..self.linear_no_bias(inner, out)? })
    }

    /// A linear map without bias.
    pub(crate) fn linear_no_bias(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        Ok(LinearWeights { weight: self.tensor("weight", &[out, inner])?, bias: None, form: self.form() })
    }

    /// A 1 × 1 convolution, read as the linear map it is.
    pub(crate) fn pointwise_conv(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        let weight = self.tensor("weight", &[out, inner, 1, 1])?;
        let weight = if self.is_hollow() { weight } else { weight.reshape((out, inner))? };
        Ok(LinearWeights { weight, bias: Some(self.tensor("bias", &[out])?), form: self.form() })
    }

    /// A convolution with the same padding on all sides.
    pub(crate) fn conv(
        &self,
        inner: usize,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<ConvWeights> {
        let weight = self.read("weight", &[out, inner, kernel, kernel])?;
        let weight = if self.is_hollow() { weight } else { self.form().conv_kernel(weight)? };
        Ok(ConvWeights {
            weight: self.weights.compute.weight(&weight)?,
            bias: self.tensor("bias", &[out])?,
            kernel,
            stride,
            pad_before: padding,
            pad_after: padding,
            form: self.form(),
        })
    }

    /// Scale and shift of a norm.
    pub(crate) fn norm(&self, channels: usize, eps: f64) -> Result<NormWeights> {
        let read = |leaf| Ok::<_, Error>(self.weights.compute.norm(&self.read(leaf, &[channels])?)?);
        let (gamma, beta) = (read("weight")?, read("bias")?);
        Ok(NormWeights { gamma, beta, eps, form: self.form() })
    }
}
