//! Reading frozen weights from safetensors files, single or sharded, in any float type, by the names diffusers and
//! transformers give them. What is missing or misshapen is an error that names file, tensor and both shapes.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use super::error::{Error, Result};
use crate::protocol::Part;
use super::ops::{ConvWeights, LinearWeights, NormWeights, flip_kernel};

struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Where the tensor data starts.
    data: usize,
    header: Metadata,
}

/// The tensors of one component (a UNet, a text encoder, ...).
#[derive(Clone)]
pub struct Weights {
    folder: PathBuf,
    shards: Arc<Vec<Shard>>,
    index: Arc<HashMap<String, usize>>,
}

/// Names a component's weights may have, without their ending.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];

impl Weights {
    /// Open the weights in `folder`: one `.safetensors` file, or the shards that an `.index.json` lists; full precision
    /// before the `fp16` variant.
    pub fn open(folder: &Path) -> Result<Self> {
        let files = Self::files(folder)?;
        let mut shards = Vec::new();
        let mut index = HashMap::new();
        for path in files {
            let shard = Shard::open(path)?;
            for name in shard.header.tensors().keys() {
                index.insert(name.clone(), shards.len());
            }
            shards.push(shard);
        }
        Ok(Self { folder: folder.to_owned(), shards: Arc::new(shards), index: Arc::new(index) })
    }

    /// The files [`open`](Self::open) would read, in a fixed order.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        for variant in ["", ".fp16"] {
            for stem in STEMS {
                let single = folder.join(format!("{stem}{variant}.safetensors"));
                if single.is_file() {
                    return Ok(vec![single]);
                }
                let list = folder.join(format!("{stem}.safetensors.index{variant}.json"));
                if list.is_file() {
                    return Self::shards_of(&list, folder);
                }
            }
        }
        Err(Error::Format { path: folder.to_owned(), cause: "no .safetensors weights here".into() })
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
        if let Some(odd) = names.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(Error::Format {
                path: list.to_owned(),
                cause: format!("names a shard outside its folder: {odd}"),
            });
        }
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The tensor `name` as float32; its shape must be `expected`.
    pub fn tensor(&self, name: &str, expected: &[usize]) -> Result<Tensor> {
        let Some(&shard) = self.index.get(name) else {
            return Err(Error::MissingTensor {
                path: self.folder.clone(),
                tensor: name.into(),
                expected: expected.to_vec(),
            });
        };
        let shard = &self.shards[shard];
        let tensor = shard.tensor(name)?;
        if tensor.dims() != expected {
            return Err(Error::TensorShape {
                path: shard.path.clone(),
                tensor: name.into(),
                found: tensor.dims().to_vec(),
                expected: expected.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// What these weights are, as the part `name` of a base model.
    pub fn part(&self, name: &str) -> Part {
        let (mut parameters, mut disk_bytes, mut types) = (0, 0, BTreeSet::new());
        for shard in self.shards.iter() {
            for info in shard.header.tensors().values() {
                parameters += info.shape.iter().map(|&n| n as u64).product::<u64>();
                disk_bytes += (info.data_offsets.1 - info.data_offsets.0) as u64;
                types.insert(format!("{:?}", info.dtype));
            }
        }
        let stored_as = types.into_iter().collect::<Vec<_>>().join(", ");
        Part { name: name.into(), parameters, stored_as, disk_bytes, memory_bytes: 4 * parameters }
    }

    /// The tensors below `name`.
    pub fn at(&self, name: impl Display) -> Scope<'_> {
        Scope { weights: self, prefix: name.to_string() }
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self> {
        let read = |source| Error::Read { path: path.clone(), source };
        let file = std::fs::File::open(&path).map_err(read)?;
        let map = crate::sys::map_file(&file).map_err(read)?;
        let (header_len, header) = SafeTensors::read_metadata(&map)
            .map_err(|e| Error::Format { path: path.clone(), cause: format!("not a safetensors file: {e}") })?;
        let data = header_len + 8;
        let end = header.tensors().values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        if data + end > map.len() {
            let cause = format!("cut short: {} bytes, its header calls for {}", map.len(), data + end);
            return Err(Error::Format { path, cause });
        }
        Ok(Self { path, map, data, header })
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let format = |cause: String| Error::Format { path: self.path.clone(), cause };
        let info = self.header.info(name).ok_or_else(|| format(format!("its header lost the tensor {name}")))?;
        let dtype = DType::try_from(info.dtype).map_err(|e| format(format!("tensor {name}: {e}")))?;
        let bytes = &self.map[self.data + info.data_offsets.0..self.data + info.data_offsets.1];
        let tensor = Tensor::from_raw_buffer(bytes, dtype, &info.shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(DType::F32)?)
    }
}

/// Parse a JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Format { path: path.to_owned(), cause: e.to_string() })
}

/// A place in the tree of names.
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    /// One step down.
    pub fn at(&self, name: impl Display) -> Self {
        let prefix = if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { weights: self.weights, prefix }
    }

    fn name(&self, leaf: &str) -> String {
        self.at(leaf).prefix
    }

    /// Whether there is a tensor `leaf` here.
    pub fn has(&self, leaf: &str) -> bool {
        self.weights.has(&self.name(leaf))
    }

    /// The tensor `leaf` of this place.
    pub fn tensor(&self, leaf: &str, expected: &[usize]) -> Result<Tensor> {
        self.weights.tensor(&self.name(leaf), expected)
    }

    /// A linear map with bias.
    pub(crate) fn linear(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        let bias = Some(self.tensor("bias", &[out])?);
        Ok(LinearWeights { bias, ..self.linear_no_bias(inner, out)? })
    }

    /// A linear map without bias.
    pub(crate) fn linear_no_bias(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        Ok(LinearWeights { weight: self.tensor("weight", &[out, inner])?, bias: None })
    }

    /// A 1 × 1 convolution, read as the linear map it is.
    pub(crate) fn pointwise_conv(&self, inner: usize, out: usize) -> Result<LinearWeights> {
        let weight = self.tensor("weight", &[out, inner, 1, 1])?.reshape((out, inner))?;
        Ok(LinearWeights { weight, bias: Some(self.tensor("bias", &[out])?) })
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
        let weight = self.tensor("weight", &[out, inner, kernel, kernel])?;
        let channels_last = weight.permute((0, 2, 3, 1))?.contiguous()?;
        let flipped = if stride == 1 { Some(flip_kernel(&channels_last)?) } else { None };
        Ok(ConvWeights {
            weight: channels_last,
            flipped,
            bias: self.tensor("bias", &[out])?,
            kernel,
            stride,
            pad_before: padding,
            pad_after: padding,
        })
    }

    /// Scale and shift of a norm.
    pub(crate) fn norm(&self, channels: usize, eps: f64) -> Result<NormWeights> {
        Ok(NormWeights { gamma: self.tensor("weight", &[channels])?, beta: self.tensor("bias", &[channels])?, eps })
    }
}
