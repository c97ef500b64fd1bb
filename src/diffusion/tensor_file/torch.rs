//! What `torch.save` writes: a zip with `<name>/data.pkl`, a pickle that says which tensor is where, and
//! `<name>/data/<key>`, the numbers.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::DType;

use super::pickle::{self, Found, Storage};
use super::{Contents, TensorInfo};
use crate::archive::{self, Entry};

/// The largest pickle read; a checkpoint with optimizer states has 2 MB.
const MAX_PICKLE: usize = 32 << 20;

pub(super) fn parse(bytes: &[u8]) -> Result<Contents, String> {
    let entries = archive::entries(bytes)?;
    if let Some((name, _)) = entries.iter().find(|(_, entry)| entry.is_packed) {
        return Err(format!("{name} is compressed or encrypted in the zip, which torch.save never does"));
    }
    let mut pickles =
        entries.iter().filter(|(name, _)| name.split_once('/').is_some_and(|(_, rest)| rest == "data.pkl"));
    let (name, entry) = pickles.next().ok_or("a zip file without data.pkl: not one of torch.save")?;
    if pickles.next().is_some() {
        return Err("a zip file with several data.pkl: not one of torch.save".into());
    }
    let root = name.trim_end_matches("data.pkl");
    if entries.get(&format!("{root}byteorder")).is_some_and(|entry| bytes[entry.range.clone()].starts_with(b"big")) {
        return Err("written on a big-endian machine, which is not supported".into());
    }
    if entry.range.len() > MAX_PICKLE {
        return Err(format!("its pickle has {} bytes; no checkpoint needs more than {MAX_PICKLE}", entry.range.len()));
    }
    let pickle = &bytes[entry.range.clone()];
    // One damaged digit in the pickle could give a tensor the numbers of another.
    let mut checksum = flate2::Crc::new();
    checksum.update(pickle);
    if checksum.sum() != entry.checksum {
        return Err("damaged: the checksum of its data.pkl does not fit".into());
    }
    let found = pickle::read(pickle).map_err(|cause| format!("its pickle cannot be read: {cause}"))?;
    let storages = Storages { entries: &entries, folder: format!("{root}data/") };
    let mut contents = Contents::default();
    for (name, found) in found {
        match found {
            Found::Number(number) => drop(contents.numbers.insert(name, number)),
            Found::Text(text) => drop(contents.texts.insert(name, text.to_owned())),
            Found::Tensor(tensor) => {
                let info = storages.place(&tensor).map_err(|cause| format!("tensor {name}: {cause}"))?;
                contents.tensors.insert(name, info);
            }
        }
    }
    Ok(contents)
}

struct Storages<'a> {
    entries: &'a HashMap<String, Entry>,
    /// Where the numbers are.
    folder: String,
}

impl Storages<'_> {
    /// Where in the file the numbers of `tensor` are.
    fn place(&self, tensor: &pickle::Tensor<'_>) -> Result<TensorInfo, String> {
        let pickle::Tensor { storage, offset, shape, strides } = tensor;
        let &Storage { type_name, key, len } = storage;
        let (dtype, item) = storage_type(type_name);
        let entry = self.entries.get(&format!("{}{key}", self.folder));
        let range =
            entry.map(|entry| entry.range.clone()).ok_or_else(|| format!("its numbers (data/{key}) are missing"))?;
        let outside = || format!("{shape:?} from number {offset} on is more than its storage has");
        if len.checked_mul(item).is_none_or(|size| size > range.len()) {
            return Err(format!("its storage has {} bytes, the pickle says {len} numbers", range.len()));
        }
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let elements = elements.filter(|&elements| elements <= len).ok_or_else(outside)?;
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |last, (&size, &stride)| last.checked_add(size.saturating_sub(1).checked_mul(stride)?));
        let end =
            if elements == 0 { *offset } else { last.and_then(|last| last.checked_add(1)).ok_or_else(outside)? };
        if end > len {
            return Err(outside());
        }
        let bytes: Range<usize> = range.start + offset * item..range.start + end * item;
        let strides = (elements > 0 && !in_order(shape, strides)).then(|| strides.clone());
        Ok(TensorInfo { type_name: type_name.to_owned(), dtype, shape: shape.clone(), strides, bytes })
    }
}

/// Whether the elements of a tensor follow one another.
fn in_order(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}

/// The type of a storage's numbers, and their size in bytes.
fn storage_type(name: &str) -> (Option<DType>, usize) {
    let dtype = match name {
        "DoubleStorage" => DType::F64,
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" => DType::U8,
        // Complex, quantized, bool, ...: at least a byte each, and never read.
        _ => return (None, 1),
    };
    (Some(dtype), dtype.size_in_bytes())
}
