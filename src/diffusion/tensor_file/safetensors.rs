//! What a safetensors file says of its tensors: a header of JSON, read only where it is of a size that models have.

use std::fmt;

use candle_core::DType;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Contents, TensorInfo};

/// The most bytes of a header: the header of SDXL's 2,600 tensors has 300,000.
const MAX_HEADER: usize = 16 << 20;
/// The most tensors of a file.
const MAX_TENSORS: usize = 100_000;

pub(super) fn parse(bytes: &[u8]) -> Result<Contents, String> {
    let (header_len, header) =
        header(bytes).map_err(|e| format!("neither a whole safetensors file nor one of torch.save: {e}"))?;
    let data = header_len + 8;
    let mut contents = Contents::default();
    for (name, info) in header.tensors() {
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        if range.start > range.end || range.end > bytes.len() {
            return Err(format!("cut short: {} bytes, tensor {name} calls for {}", bytes.len(), range.end));
        }
        let tensor = TensorInfo {
            type_name: info.dtype.to_string(),
            dtype: DType::try_from(info.dtype).ok(),
            shape: info.shape.clone(),
            strides: None,
            bytes: range,
        };
        contents.tensors.insert(name, tensor);
    }
    Ok(contents)
}

/// The length of a file's header, and what it says. All that read a safetensors file read it here first: the library makes a
/// tensor of every name, and the names of a hostile header fill memory.
///
/// # Errors
/// A header that is damaged, longer than any model's, or of more tensors.
pub fn header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    if let Some(length) = bytes.first_chunk().map(|length| u64::from_le_bytes(*length)) {
        let there = bytes.len() as u64 - 8;
        if length <= there && length > MAX_HEADER as u64 {
            return Err(format!("its header is {length} bytes long; no model needs more than {MAX_HEADER}"));
        }
        if length <= there {
            check_count(&bytes[8..8 + length as usize])?;
        }
    }
    SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())
}

/// Refuse a header of too many tensors. What else is wrong with it is told by who reads it next.
fn check_count(header: &[u8]) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(header);
    match json.deserialize_map(Count) {
        Ok(count) if count > MAX_TENSORS => {
            Err(format!("it names more than {MAX_TENSORS} tensors; no model has so many"))
        }
        _ => Ok(()),
    }
}

/// Counts the entries of a table.
struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
