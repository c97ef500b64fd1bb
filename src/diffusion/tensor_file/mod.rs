//! Files of named tensors, read one tensor at a time: safetensors, and what `torch.save` writes
//! since PyTorch 1.6 (a zip of raw numbers and one pickle, read without running anything in it).
//!
//! A file is hostile until read: whatever its bytes say, reading ends with an error or with tensors, in time and memory
//! bounded by the size of the file.

mod pickle;
mod safetensors;
mod torch;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::{Bound, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use crate::archive;
use candle_core::{DType, Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use rayon::prelude::*;

pub use safetensors::header;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// As the file calls it: "F16", "`LongStorage`".
    pub type_name: String,
    /// None for a type that nothing here computes with.
    pub dtype: Option<DType>,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Numbers to the next element of each dimension; none when they follow one another.
    strides: Option<Vec<usize>>,
    /// The bytes of the file its numbers are in.
    bytes: Range<usize>,
}

impl TensorInfo {
    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds floats of a type that can be computed with.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Some(DType::F16 | DType::BF16 | DType::F32 | DType::F64))
    }
}

/// A file of named tensors.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// The same, for what is not a run of numbers: pages of it stay in memory once touched.
    map: Mmap,
    tensors: BTreeMap<String, TensorInfo>,
    numbers: HashMap<String, i64>,
    texts: HashMap<String, String>,
}

/// What a parser finds in a file.
#[derive(Default)]
struct Contents {
    tensors: BTreeMap<String, TensorInfo>,
    numbers: HashMap<String, i64>,
    texts: HashMap<String, String>,
}

impl TensorFile {
    /// Open the file at `path`. What form it has is told by its first bytes, not by its name.
    ///
    /// The tensors of a PyTorch file are in its `state_dict`, where it has one (training leftovers such as the
    /// optimizer's are not read), else all that it holds; one in a nested dictionary has a dotted name.
    pub fn open(path: &Path) -> Result<Self> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let file = crate::fs::open(path).map_err(read)?;
        let map = crate::sys::map_file(&file).map_err(read)?;
        let contents = parse(&map).map_err(|cause| Error::Format { path: path.to_owned(), cause })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            map,
            tensors: contents.tensors,
            numbers: contents.numbers,
            texts: contents.texts,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The tensors whose names are not before `start`, sorted.
    pub(super) fn tensors_from(&self, start: &str) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .map(|(name, info)| (name.as_str(), info))
    }

    /// What is known of the tensor `name`.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// A whole number beside the tensors of a PyTorch file, as `global_step`.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(name).copied()
    }

    /// A text beside the tensors of a PyTorch file, as the `name` of an embedding.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The tensor `name` as float32, in its own shape. Only floats can be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let missing = || self.error(format!("has no tensor {name}"));
        self.read(name, self.info(name).ok_or_else(missing)?, None)
    }

    /// The same, or only these `rows` of its first dimension.
    pub(super) fn read(&self, name: &str, info: &TensorInfo, rows: Option<Range<usize>>) -> Result<Tensor> {
        let Some(dtype) = info.dtype.filter(|_| info.is_float()) else {
            let cause = format!("tensor {name} holds {}; weights are F16, BF16, F32 or F64", info.type_name);
            return Err(self.error(cause));
        };
        let mut shape = info.shape.clone();
        let numbers = match &info.strides {
            None => {
                let mut range = info.bytes.clone();
                if let (Some(rows), Some(first)) = (rows, shape.first_mut()) {
                    let row = range.len() / (*first).max(1);
                    *first = rows.len();
                    range = range.start + row * rows.start..range.start + row * rows.end;
                }
                self.floats(range, dtype)?
            }
            Some(strides) => {
                let gathered = gather(&self.map[info.bytes.clone()], dtype.size_in_bytes(), &info.shape, strides);
                let mut wanted = &gathered[..];
                if let (Some(rows), Some(first)) = (rows, shape.first_mut()) {
                    let row = wanted.len() / (*first).max(1);
                    *first = rows.len();
                    wanted = &wanted[row * rows.start..row * rows.end];
                }
                let mut numbers = vec![0f32; wanted.len() / dtype.size_in_bytes()];
                to_floats(wanted, dtype, &mut numbers);
                numbers
            }
        };
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }

    /// The numbers in these bytes of the file. They are read, not taken from the mapping, whose pages would count beside
    /// them; by all threads, because clearing fresh memory takes longer than copying what is cached.
    fn floats(&self, range: Range<usize>, dtype: DType) -> Result<Vec<f32>> {
        const PIECE: usize = 1 << 18;
        let size = dtype.size_in_bytes();
        let mut numbers = vec![0f32; range.len() / size];
        numbers
            .par_chunks_mut(PIECE)
            .enumerate()
            .try_for_each_init(
                || vec![0u8; PIECE * size],
                |bytes, (i, numbers)| {
                    let bytes = &mut bytes[..numbers.len() * size];
                    self.file.read_exact_at(bytes, (range.start + i * PIECE * size) as u64)?;
                    to_floats(bytes, dtype, numbers);
                    Ok(())
                },
            )
            .map_err(|source| Error::Read { path: self.path.clone(), source })?;
        Ok(numbers)
    }

    pub(super) fn error(&self, cause: String) -> Error {
        Error::Format { path: self.path.clone(), cause }
    }
}

/// Little-endian floats of type `dtype` as float32.
fn to_floats(bytes: &[u8], dtype: DType, numbers: &mut [f32]) {
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        DType::F16 => {
            let halves: Vec<f16> = halves().map(f16::from_bits).collect();
            halves.convert_to_f32_slice(numbers);
        }
        DType::BF16 => {
            numbers.iter_mut().zip(halves()).for_each(|(n, bits)| *n = f32::from_bits(u32::from(bits) << 16));
        }
        DType::F64 => {
            for (n, b) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
                *n = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            }
        }
        _ => {
            for (n, b) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
                *n = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Contents, String> {
    if bytes.starts_with(archive::MAGIC) {
        torch::parse(bytes)
    } else if bytes.starts_with(b"\x80\x02\x8a\x0a") {
        Err("written by PyTorch before 1.6, which is not supported: torch.load it in a newer PyTorch and torch.save it again"
            .into())
    } else if bytes.starts_with(b"version https://git-lfs") {
        Err("a Git LFS pointer, not the file it stands for: run `git lfs pull`".into())
    } else {
        safetensors::parse(bytes)
    }
}

/// The elements of a strided tensor, in order. The strides stay within `bytes`.
fn gather(bytes: &[u8], item: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut gathered = Vec::with_capacity(count * item);
    let mut at = vec![0; shape.len()];
    let mut offset = 0;
    for _ in 0..count {
        gathered.extend_from_slice(&bytes[offset * item..(offset + 1) * item]);
        for dim in (0..shape.len()).rev() {
            at[dim] += 1;
            offset += strides[dim];
            if at[dim] < shape[dim] {
                break;
            }
            offset -= strides[dim] * shape[dim];
            at[dim] = 0;
        }
    }
    gathered
}
