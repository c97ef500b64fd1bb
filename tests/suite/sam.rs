//! Weights of Segment Anything by the formula of `tests/parity/segment_anything.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::common::fixture;

/// `count` numbers in [-1, 1) that the name decides: splitmix64 from the FNV-1a hash of it.
fn numbers(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// The weights of the fixture `name`, as the script makes them.
pub fn weights(name: &str) -> HashMap<String, Tensor> {
    let text = std::fs::read_to_string(fixture("segment_anything").join(name).join("reference.json")).unwrap();
    let shapes: Value = serde_json::from_str::<Value>(&text).unwrap()["shapes"].take();
    let shapes: HashMap<String, Vec<usize>> = serde_json::from_value(shapes).unwrap();
    let weight = |(name, shape): (String, Vec<usize>)| {
        let scale = |value: f64| match shape.as_slice() {
            _ if name.contains("gaussian_matrix") => value,
            [_] if name.ends_with("weight") || name.ends_with("running_var") => 1.0 + 0.1 * value,
            [_] => 0.1 * value,
            [_, rest @ ..] => value * (3.0 / rest.iter().product::<usize>() as f64).sqrt(),
            [] => unreachable!("{name} is one number"),
        };
        let values: Vec<f32> = numbers(&name, shape.iter().product()).map(|value| scale(value) as f32).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        (name, tensor)
    };
    shapes.into_iter().map(weight).collect()
}

/// The same in a file in `folder`.
pub fn file(name: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    candle_core::safetensors::save(&weights(name), &path).unwrap();
    path
}
