//! Model files written by code, so that they can be broken in every way: safetensors, and the zip and pickle of torch.save.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// The tensors of a file: type, shape, bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// All tensors of a safetensors file.
pub fn read_safetensors(bytes: &[u8]) -> Tensors {
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// A safetensors file; sizes are not checked.
pub fn safetensors_bytes(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let entry = json!({ "dtype": format!("{dtype:?}"), "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    with_header(&Value::Object(header), &data)
}

/// A safetensors file of this header, without padding.
pub fn with_header(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// One instruction after another.
#[derive(Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    /// A number of 63 bits.
    pub fn int(self, value: u64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub fn sizes(self, sizes: &[u64]) -> Self {
        sizes.iter().fold(self.op(b"("), |pickle, &size| pickle.int(size)).op(b"t")
    }

    /// A tensor as torch.save describes it, in `numbers` numbers of `data/<key>`.
    pub fn tensor(self, storage: &str, key: &str, numbers: u64, shape: &[u64], strides: &[u64]) -> Self {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .op(format!("ctorch\n{storage}\n").as_bytes())
            .text(key)
            .text("cpu")
            .int(numbers)
            .op(b"tQ")
            .int(0)
            .sizes(shape)
            .sizes(strides)
            .op(b"\x89ccollections\nOrderedDict\n)RtR")
    }
}

/// An entry of a zip file.
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    pub method: u16,
}

/// The entry `name`, stored.
pub fn entry(name: &str, bytes: Vec<u8>) -> Entry {
    Entry { name: format!("archive/{name}"), bytes, method: 0 }
}

/// Where the fields of a zip file are that say something.
pub struct Zip {
    pub bytes: Vec<u8>,
    /// Bytes whose change is a change of meaning.
    pub meaningful: Vec<usize>,
}

/// A zip file.
pub fn zip(entries: &[Entry]) -> Zip {
    let (mut bytes, mut directory, mut meaningful) = (Vec::new(), Vec::new(), Vec::new());
    let mut in_directory = Vec::new();
    for Entry { name, bytes: content, method } in entries {
        let mut checksum = flate2::Crc::new();
        checksum.update(content);
        let offset = bytes.len();
        let fields = |signature: &[u8]| {
            let mut fields = signature.to_vec();
            fields.extend(method.to_le_bytes());
            fields.extend([0; 4]);
            fields.extend(checksum.sum().to_le_bytes());
            fields.extend((content.len() as u32).to_le_bytes());
            fields.extend((content.len() as u32).to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0; 2]);
            fields
        };
        meaningful.extend(offset..offset + 4);
        bytes.extend(fields(b"PK\x03\x04\x14\0\0\0"));
        bytes.extend(name.bytes());
        if name.ends_with("/data.pkl") {
            meaningful.extend(bytes.len()..bytes.len() + content.len());
        }
        bytes.extend(content);
        let at = directory.len();
        // Signature, method, sizes, length of the name; where the data is, the name.
        in_directory.extend([at..at + 4, at + 10..at + 12, at + 20..at + 30, at + 42..at + 46 + name.len()]);
        directory.extend(fields(b"PK\x01\x02\x14\0\x14\0\0\0"));
        directory.extend([0; 10]);
        directory.extend((offset as u32).to_le_bytes());
        directory.extend(name.bytes());
    }
    let start = bytes.len();
    meaningful.extend(in_directory.into_iter().flatten().map(|at| start + at));
    bytes.extend(&directory);
    let end = bytes.len();
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        bytes.extend((entries.len() as u16).to_le_bytes());
    }
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend((start as u32).to_le_bytes());
    bytes.extend([0; 2]);
    // The entries of one disk are not looked at.
    meaningful.extend((end..end + 4).chain(end + 10..end + 22));
    Zip { bytes, meaningful }
}

/// A file of torch.save with one pickle and these storages.
pub fn torch_file(pickle: Pickle, storages: Vec<Vec<u8>>) -> Zip {
    let mut entries = vec![entry("data.pkl", pickle.0)];
    entries.extend(storages.into_iter().enumerate().map(|(i, bytes)| entry(&format!("data/{i}"), bytes)));
    zip(&entries)
}

/// The same tensors as torch.save writes them.
pub fn torch_bytes(tensors: &Tensors) -> Zip {
    let mut pickle = Pickle::new().op(b"}(").text("state_dict").op(b"ccollections\nOrderedDict\n)R(");
    let mut storages = Vec::new();
    for (i, (name, (dtype, shape, bytes))) in tensors.iter().enumerate() {
        let (storage, item) = match dtype {
            Dtype::F16 => ("HalfStorage", 2),
            Dtype::BF16 => ("BFloat16Storage", 2),
            _ => ("FloatStorage", 4),
        };
        let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
        let strides: Vec<u64> = (0..shape.len()).map(|dim| shape[dim + 1..].iter().product()).collect();
        pickle = pickle.text(name).tensor(storage, &i.to_string(), (bytes.len() / item) as u64, &shape, &strides);
        storages.push(bytes.clone());
    }
    torch_file(pickle.op(b"uu."), storages)
}
