//! The file of the authors' released code, `pytorch_adapter.bin`: a torch zip archive with one flat float32 storage, of each
//! concatenated layer, bottom up, its D keys and its D values. Four names stand for all of it: one for each layer and
//! one for the pool that the layers share.
//!
//! That code adds 1 to the logits of the rows ([`PREFIX_BIAS`]), whatever they were trained with.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use candle_core::{Device, Tensor};

use super::embeddings::{name, sizes};
use super::{DECLARATION, FILE, Settings, bad};
use crate::diffusion::{Outline, TensorFile};
use crate::method::{Export, write};
use crate::personalize::{Checkpoint, Learned, Result};
use crate::protocol::TrainConfig;

/// What the released code adds to the logits of the rows: it takes the padding mask of ones for an additive one.
const PREFIX_BIAS: f32 = 1.0;
/// Layers the method concatenates to.
const LAYERS: usize = 3;
/// The text encoder that the released code loads (CLIP ViT-L/14): its concatenated layers and its width.
const RELEASED: (usize, [usize; LAYERS]) = (768, [9, 10, 11]);
/// What the released code calls the rows within a layer, and within the model.
const IN_LAYER: &str = "self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix";
const IN_MODEL: &str = "prefix_tuning.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix";
const LEAF: &str = "control_trans";

/// The checkpoint that a `pytorch_adapter.bin` amounts to, for the text encoder of `model`, whose hash the caller fills in.
/// What the file does not say (steps, learning rate, ...) is as in the preset `official`.
pub(super) fn import(path: &Path, model: &Outline, class_word: &str) -> Result<Checkpoint> {
    let file = TensorFile::open(path)?;
    let mut tensors = Vec::new();
    for (name, _) in file.tensors() {
        tensors.push((name.to_owned(), file.tensor(name)?.flatten_all()?.to_vec1::<f32>()?));
    }
    let [text] = &model.texts[..] else {
        return Err(bad(path, "is for one text encoder, and this base model has several"));
    };
    let learned = gather(tensors, text.layers(), text.width()).map_err(|cause| bad(path, cause))?;
    Checkpoint::of_file(learned, class_word, TrainConfig::of(DECLARATION.name, Some("official"))?)
}

/// The rows in the tensors of a file. A layer's name may stand for all layers, as the released code has it, or for its own
/// keys and values alone. What has several names must be the same under each.
fn gather(tensors: Vec<(String, Vec<f32>)>, depth: usize, width: usize) -> Result<Learned, String> {
    let (mut layers, mut all) = (Vec::new(), Vec::new());
    for (name, numbers) in tensors {
        if !name.ends_with(LEAF) {
            return Err(format!("holds {name}, which is no residual embedding: not an adapter of CatVersion"));
        }
        let layer = name.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
        match layer {
            Some(layer) => layers.push((layer, name, numbers)),
            None => all.push((name, numbers)),
        }
    }
    layers.sort_by_key(|(layer, ..)| *layer);
    let found: Vec<usize> = layers.iter().map(|(layer, ..)| *layer).collect();
    let expected: Vec<usize> = (depth.saturating_sub(LAYERS)..depth).collect();
    if found != expected {
        return Err(format!(
            "is for layers {found:?} of a text encoder; the last {LAYERS} of this base model's are {expected:?}: choose \
             the kind of base model it was trained on (the authors' adapters: Stable Diffusion 1.x)"
        ));
    }
    let count = 2 * LAYERS * width;
    let mut parts = Vec::new();
    for (_, name, numbers) in layers {
        if numbers.len() == 2 * width {
            parts.extend(numbers);
        } else {
            all.push((name, numbers));
        }
    }
    if !parts.is_empty() {
        all.push(("the layers' own".into(), parts));
    }
    if let Some((name, numbers)) = all.iter().find(|(_, numbers)| numbers.len() != count) {
        return Err(format!(
            "{name} has {} numbers; this base model's text encoder of width {width} takes {count} (2 · {LAYERS} layers \
             · {width}, one row each)",
            numbers.len()
        ));
    }
    let mut all = all.into_iter();
    let (first, numbers) = all.next().ok_or("holds no tensors")?;
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(format!("{first} holds numbers that are not finite"));
    }
    if let Some((other, _)) = all.find(|(_, other)| *other != numbers) {
        return Err(format!("{first} and {other} should be the same numbers but differ"));
    }
    let parts = numbers.chunks_exact(width).map(|row| Tensor::from_slice(row, (1, width), &Device::Cpu));
    let names = found.iter().flat_map(|&layer| ["key", "value"].map(|side| name("text_encoder", layer, side)));
    let tensors = names.zip(parts).map(|(name, row)| Ok((name, row?))).collect::<candle_core::Result<Vec<_>>>();
    tensors.map_err(|e| e.to_string()).and_then(|tensors| Learned::new(&tensors).map_err(|e| e.to_string()))
}

/// Write a `pytorch_adapter.bin`, and the `adapter_config.json` that the released code reads beside it. Gives both files.
///
/// # Errors
/// Embeddings that the layout has no place for: more than one row a layer, or other than three layers in a row. Another
/// `adapter_config.json` that is already there; another file in the place of the adapter, unless it is forced.
pub(super) fn export(export: &Export<'_>, settings: &Settings) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (path, learned) = (export.path, &export.checkpoint.learned);
    export
        .check_path(FILE, |file| file.tensors().count() > 0 && file.tensors().all(|(name, _)| name.ends_with(LEAF)))?;
    let (layers, rows, width) = sizes(learned);
    if rows != 1 || layers.len() != LAYERS || layers[LAYERS - 1] - layers[0] + 1 != LAYERS {
        return Err(bad(
            path,
            format!(
                "the authors' format has one row in each of the last {LAYERS} layers; this run has {rows} in layers \
                 {layers:?}: train with --prefix-length 1 and without --layers",
            ),
        ));
    }
    let config_path = path.with_file_name("adapter_config.json");
    let config = config_json(width);
    let there = config_path.is_file().then(|| crate::fs::read(&config_path, crate::fs::SETTINGS)).transpose();
    let there = there.map_err(|error| bad(&config_path, format!("cannot be read: {error}")))?;
    let same = |there: &[u8]| serde_json::from_slice::<serde_json::Value>(there).is_ok_and(|there| there == config);
    if there.is_some_and(|there| !same(&there)) {
        return Err(bad(&config_path, "is there already and of another adapter: choose another folder"));
    }
    let bytes = archive(&layers, &learned.numbers()?).map_err(|error| bad(path, error.to_string()))?;
    write(FILE, path, &bytes)?;
    write(FILE, &config_path, format!("{config:#}\n").as_bytes())?;
    Ok((vec![path.to_owned(), config_path], warnings(settings, &layers, width)))
}

/// What the user of an exported file should know.
fn warnings(settings: &Settings, layers: &[usize], width: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let bias = settings.prefix_bias;
    if bias.to_bits() != PREFIX_BIAS.to_bits() {
        warnings.push(format!(
            "this run was trained with prefix_bias {bias}, but the released code always adds {PREFIX_BIAS}: there the text \
             attends to the concept e^{} = {:.2} times as strongly, and no other numbers would undo that. For the same \
             pictures train with --prefix-bias {PREFIX_BIAS}",
            PREFIX_BIAS - bias,
            (PREFIX_BIAS - bias).exp()
        ));
    }
    if (width, layers) != (RELEASED.0, &RELEASED.1[..]) {
        warnings.push(format!(
            "the released code is for Stable Diffusion 1.x (layers {:?} of width {}); this adapter is for layers {layers:?} \
             of width {width} and cannot be used there",
            RELEASED.1, RELEASED.0
        ));
    }
    warnings
}

fn config_json(width: usize) -> serde_json::Value {
    json!({
        "config": {
            "architecture": "prefix_tuning", "bottleneck_size": 512, "cross_prefix": true, "dropout": 0.0,
            "encoder_prefix": true, "flat": true, "leave_out": [], "non_linearity": "tanh", "prefix_length": 1,
            "shared_gating": true, "use_gating": false,
        },
        "hidden_size": width, "model_class": "CLIPTextModel", "model_name": null, "model_type": "clip_text_model",
        "name": "prefix_tuning1", "version": "3.2.1",
    })
}

/// The bytes of a torch zip archive with `numbers` as its one storage.
fn archive(layers: &[usize], numbers: &[f32]) -> zip::result::ZipResult<Vec<u8>> {
    let names = layers.iter().map(|layer| format!("text_model.encoder.layers.{layer}.{IN_LAYER}.{LEAF}"));
    let names: Vec<String> = names.chain([format!("{IN_MODEL}.{LEAF}")]).collect();
    let storage: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Torch maps storages into memory, so they start at multiples of 64.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .with_alignment(64);
    let records: [(&str, &[u8]); 4] = [
        ("archive/data.pkl", &pickle(&names, numbers.len() as i32)),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &storage),
        ("archive/version", b"3\n"),
    ];
    for (name, bytes) in records {
        zip.start_file(name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// `{name: tensor, ...}` as a pickle of protocol 2: every name the same `count` numbers of storage 0, contiguous.
fn pickle(names: &[String], count: i32) -> Vec<u8> {
    const MARK: u8 = b'(';
    const TUPLE: u8 = b't';
    const REDUCE: u8 = b'R';
    const EMPTY_TUPLE: u8 = b')';
    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    fn global(out: &mut Vec<u8>, module: &str, name: &str) {
        out.extend(format!("c{module}\n{name}\n").as_bytes());
    }
    fn int(out: &mut Vec<u8>, value: i32) {
        out.push(b'J');
        out.extend(value.to_le_bytes());
    }
    // A tuple of one.
    fn single(out: &mut Vec<u8>, value: i32) {
        int(out, value);
        out.push(0x85);
    }
    // Protocol 2, an empty dict, and the items to set in it.
    let mut out = vec![0x80, 2, b'}', MARK];
    for name in names {
        text(&mut out, name);
        global(&mut out, "torch._utils", "_rebuild_tensor_v2");
        out.extend([MARK, MARK]);
        text(&mut out, "storage");
        global(&mut out, "torch", "FloatStorage");
        text(&mut out, "0");
        text(&mut out, "cpu");
        int(&mut out, count);
        // The storage is a persistent id.
        out.extend([TUPLE, b'Q']);
        int(&mut out, 0);
        single(&mut out, count);
        single(&mut out, 1);
        // No gradient, no hooks.
        out.push(0x89);
        global(&mut out, "collections", "OrderedDict");
        out.extend([EMPTY_TUPLE, REDUCE, TUPLE, REDUCE]);
    }
    out.extend(b"u.");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_name(layer: usize) -> String {
        format!("text_model.encoder.layers.{layer}.{IN_LAYER}.{LEAF}")
    }

    fn numbers() -> Vec<f32> {
        (0..24).map(|i| i as f32 - 5.0).collect()
    }

    #[test]
    fn a_name_stands_for_all_layers_or_for_its_own() {
        let pool = (format!("{IN_MODEL}.{LEAF}"), numbers());
        let whole = (2..5).map(|layer| (layer_name(layer), numbers())).chain([pool.clone()]).collect();
        let own = |layer: usize| numbers()[(layer - 2) * 8..][..8].to_vec();
        let parts = (2..5).rev().map(|layer| (layer_name(layer), own(layer))).chain([pool]).collect();
        for tensors in [whole, parts] {
            let found = gather(tensors, 5, 4).unwrap();
            assert_eq!((sizes(&found), found.numbers().unwrap()), ((vec![2, 3, 4], 1, 4), numbers()));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let tensors = |layers: std::ops::Range<usize>, numbers: &[f32]| -> Vec<_> {
            layers.map(|layer| (layer_name(layer), numbers.to_vec())).collect()
        };
        let wrong = |tensors, depth, width| gather(tensors, depth, width).unwrap_err();
        assert!(wrong(tensors(9..12, &numbers()), 5, 4).contains("[9, 10, 11]"));
        let other_width = wrong(tensors(2..5, &numbers()), 5, 6);
        assert!(other_width.contains("24 numbers") && other_width.contains("36"), "{other_width}");
        let mut differ = tensors(2..5, &numbers());
        differ[1].1[3] = 7.5;
        assert!(wrong(differ, 5, 4).contains("differ"));
        assert!(wrong(vec![("unet.weight".into(), numbers())], 5, 4).contains("unet.weight"));
        assert!(wrong(tensors(2..5, &[f32::NAN; 24]), 5, 4).contains("not finite"));
        assert!(wrong(Vec::new(), 5, 4).contains("[]"));
    }
}
