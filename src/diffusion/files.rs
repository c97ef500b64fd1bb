//! The files of a base model, in each form that models come in: a diffusers folder, or one file in the original naming
//! with what it lacks told from its shapes and family. Opening reads headers only.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::error::{Error, Result};
use super::infer::{self, Family};
use super::original::Naming;
use super::scheduler::Schedule;
use super::tensor_file::TensorFile;
use super::tokenizer::Tokenizer;
use super::weights::{Part, Weights, read_json};
use crate::protocol::{ModelSpec, Prediction};

/// Where the tokenizer is from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Words {
    /// The model's own.
    Folder(PathBuf),
    /// The program's, and the token it pads with.
    BuiltIn(&'static str),
}

/// The files of one text encoder.
pub(super) struct TextFiles {
    /// As its folder is called.
    pub name: &'static str,
    pub part: Part,
    pub words: Words,
}

impl TextFiles {
    /// Its tokenizer, for a text encoder of `max_length` tokens.
    pub fn tokenizer(&self, max_length: usize) -> Result<Tokenizer> {
        match &self.words {
            Words::Folder(folder) => Tokenizer::load(folder, max_length),
            Words::BuiltIn(pad) => Tokenizer::built_in(pad, max_length),
        }
    }
}

/// The files of a base model, opened but not read.
pub struct ModelFiles {
    pub(super) spec: ModelSpec,
    pub(super) family: Family,
    /// Its text encoders, in the order in which the UNet reads them.
    pub(super) texts: Vec<TextFiles>,
    pub(super) unet: Part,
    pub(super) vae: Part,
    /// The scheduler's config and where it is from.
    pub(super) scheduler: (Value, PathBuf),
    /// What the files do not say.
    pub(super) assumed: Vec<String>,
    /// The file that has all parts, where one has.
    pub(super) single: Option<Arc<TensorFile>>,
    /// What its UNet predicts by the setting, where that is not what the files say or is assumed of them.
    pub(super) other_prediction: Option<Prediction>,
    /// Whether nothing was found wrong with them.
    pub(super) sound: Cell<bool>,
}

/// Pipelines that are refused, by what their names contain.
const PIPELINES: [(&str, &str); 8] = [
    ("XL", "an SDXL model, which is not supported"),
    ("Diffusion3", "a Stable Diffusion 3 model, which is not supported"),
    ("Flux", "a Flux model, which is not supported"),
    ("Inpaint", "an inpainting model, which is not supported: use the model it was made from"),
    ("Depth2Img", "a depth-to-image model, which is not supported"),
    ("Upscale", "an upscaling model, which is not supported"),
    ("InstructPix2Pix", "an image-editing model, which is not supported"),
    ("ControlNet", "a ControlNet pipeline, which is not supported: use its base model"),
];

impl ModelFiles {
    /// Open the files that `spec` names.
    pub fn open(spec: &ModelSpec) -> Result<Self> {
        if let Some(config) = spec.config.as_ref().filter(|config| !config.is_dir()) {
            let cause = "no such folder; a config folder has unet/, text_encoder/, ... as diffusers writes them".into();
            return Err(Error::Format { path: config.clone(), cause });
        }
        let mut files = if spec.path.is_dir() { Self::folder(spec)? } else { Self::single(spec)? };
        if let Some(prediction) = spec.prediction {
            let said = files.scheduler.0["prediction_type"].as_str().unwrap_or(word(Prediction::Epsilon));
            files.other_prediction = Some(prediction).filter(|_| said != word(prediction));
            files.scheduler.0["prediction_type"] = word(prediction).into();
        }
        Ok(files)
    }

    fn folder(spec: &ModelSpec) -> Result<Self> {
        let folder = &spec.path;
        let format = |cause: String| Error::Format { path: folder.clone(), cause };
        let index = folder.join(INDEX);
        let index: Value = if index.is_file() { read_json(&index)? } else { Value::Null };
        let class = index["_class_name"].as_str().unwrap_or_default();
        if let Some((_, what)) = PIPELINES.iter().find(|(mark, _)| class.contains(mark)) {
            return Err(format(format!("{what} ({class})")));
        }
        if let Some(missing) = ["text_encoder", "unet"].iter().find(|part| !folder.join(part).is_dir()) {
            return Err(format(format!(
                "no {missing}/ in this folder: give a diffusers folder, or a model file itself"
            )));
        }
        let part = |name: &str| Part::open(&folder.join(name), overlay(spec, &format!("{name}/config.json")));
        let mut unet = part("unet")?;
        let linear = unet.config["use_linear_projection"].as_bool().unwrap_or(false);
        let family = if linear { Family::Sd2 } else { Family::Sd1 };
        let mut assumed = Vec::new();
        let words = match overlay(spec, "tokenizer") {
            Some(folder) => Words::Folder(folder),
            None if folder.join("tokenizer").is_dir() => Words::Folder(folder.join("tokenizer")),
            None => built_in_words(family, &mut assumed),
        };
        let path = overlay(spec, SCHEDULER).unwrap_or_else(|| folder.join(SCHEDULER));
        let mut scheduler: Value = read_json(&path)?;
        if class == "StableDiffusionPipeline" {
            correct(&mut unet.config, &mut scheduler, &mut assumed);
        }
        Ok(Self {
            texts: vec![TextFiles { name: "text_encoder", part: part("text_encoder")?, words }],
            unet,
            vae: match &spec.vae {
                Some(vae) => replaced_vae(spec, vae, &mut assumed)?,
                None => part("vae")?,
            },
            scheduler: (scheduler, path),
            family,
            assumed,
            single: None,
            other_prediction: None,
            sound: Cell::new(false),
            spec: spec.clone(),
        })
    }

    fn single(spec: &ModelSpec) -> Result<Self> {
        let file = Arc::new(TensorFile::open(&spec.path)?);
        let family = infer::family(&file)?;
        let mut assumed = vec![format!("{}, by the names of its tensors", family.word())];
        let (scheduler, v) = if let Some(path) = overlay(spec, SCHEDULER) {
            let config: Value = read_json(&path)?;
            let v = config["prediction_type"] == "v_prediction";
            ((config, path), v)
        } else {
            let (told, why) = prediction(&file, family);
            if spec.prediction.is_none() {
                assumed.push(why);
            }
            let v = spec.prediction.unwrap_or(told) == Prediction::V;
            ((infer::scheduler(word(told)), spec.path.clone()), v)
        };
        // Latents of 512 × 512 pixels; those that predict v were trained at 768.
        let sample_size = if family == Family::Sd2 && v { 96 } else { 64 };
        let part = |name: &str, naming, told: Result<Value>, assumed: &mut Vec<String>| {
            let weights = Weights::of_file(&file, naming);
            told_part(spec, name, weights, told, assumed)
        };
        let (naming, told) = infer::unet(&file, family, sample_size)?;
        let unet = part("unet", naming, told, &mut assumed)?;
        let (naming, told) = infer::text_encoder(&file, family);
        let text_encoder = part("text_encoder", naming, told, &mut assumed)?;
        let vae = if let Some(vae) = &spec.vae {
            replaced_vae(spec, vae, &mut assumed)?
        } else {
            let (naming, told) = infer::vae(&file)?;
            part("vae", naming, told, &mut assumed)?
        };
        let words = match overlay(spec, "tokenizer") {
            Some(folder) => Words::Folder(folder),
            None => built_in_words(family, &mut assumed),
        };
        Ok(Self {
            texts: vec![TextFiles { name: "text_encoder", part: text_encoder, words }],
            unet,
            vae,
            scheduler,
            family,
            assumed,
            other_prediction: None,
            sound: Cell::new(false),
            single: Some(file),
            spec: spec.clone(),
        })
    }

    /// Its noise schedule.
    pub(super) fn schedule(&self) -> Result<Schedule> {
        Schedule::parse(self.scheduler.0.clone(), &self.scheduler.1)
    }

    /// Its parts by name, in the order they are recorded in.
    pub(super) fn parts(&self) -> Vec<(&'static str, &Part)> {
        let texts = self.texts.iter().map(|text| (text.name, &text.part));
        texts.chain([("unet", &self.unet), ("vae", &self.vae)]).collect()
    }
}

/// Where a folder says what pipeline it is.
pub(super) const INDEX: &str = "model_index.json";

const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// What diffusers' `StableDiffusionPipeline` takes for wrong in old configs, set right as it does.
fn correct(unet: &mut Value, scheduler: &mut Value, assumed: &mut Vec<String>) {
    if unet["sample_size"].as_u64().is_some_and(|size| size < 64) && is_before_0_9(&unet["_diffusers_version"]) {
        assumed.push(format!(
            "unet: sample_size 64 and not {}, as diffusers takes what it wrote before 0.9",
            unet["sample_size"]
        ));
        unet["sample_size"] = 64.into();
    }
    if !scheduler.is_object() {
        return;
    }
    if scheduler["clip_sample"] == true {
        assumed.push("scheduler: clip_sample false and not true, as diffusers takes it".into());
        scheduler["clip_sample"] = false.into();
    }
    // Without it, diffusers' schedulers have 0.
    let offset = scheduler.get("steps_offset").cloned().unwrap_or_else(|| 0.into());
    if offset.as_u64().is_some_and(|offset| offset != 1) {
        assumed.push(format!("scheduler: steps_offset 1 and not {offset}, as diffusers takes it"));
        scheduler["steps_offset"] = 1.into();
    }
}

/// Whether this is a version of diffusers before 0.9.
fn is_before_0_9(version: &Value) -> bool {
    let mut numbers = version.as_str().unwrap_or_default().split('.').map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(0), Some(minor)) if minor < 9)
}

/// As diffusers writes it.
fn word(prediction: Prediction) -> &'static str {
    match prediction {
        Prediction::Epsilon => "epsilon",
        Prediction::V => "v_prediction",
    }
}

/// What `--config` has for `name`.
fn overlay(spec: &ModelSpec, name: &str) -> Option<PathBuf> {
    spec.config.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists())
}

/// A part of one file. Its config comes from `--config`, else from the file's shapes.
fn told_part(
    spec: &ModelSpec,
    name: &str,
    weights: Weights,
    told: Result<Value>,
    assumed: &mut Vec<String>,
) -> Result<Part> {
    if let Some(path) = overlay(spec, &format!("{name}/config.json")) {
        return Ok(Part { config: read_json(&path)?, path, weights });
    }
    let (config, path) = (told?, weights.opened().first().map_or(spec.path.clone(), |file| file.path().to_owned()));
    let say = |key: &str| config.get(key).map(|value| format!("{key} {value}"));
    let constants = match name {
        "unet" => ["norm_num_groups", "attention_head_dim"],
        "vae" => ["norm_num_groups", "scaling_factor"],
        _ => ["num_attention_heads", "hidden_act"],
    };
    assumed.push(format!("{name}: {}", constants.iter().filter_map(|key| say(key)).collect::<Vec<_>>().join(", ")));
    Ok(Part { config, path, weights })
}

/// The VAE at `path`: a folder, or one file in the original naming.
fn replaced_vae(spec: &ModelSpec, path: &Path, assumed: &mut Vec<String>) -> Result<Part> {
    if path.is_dir() {
        let inner = path.join("vae");
        let folder = if !path.join("config.json").is_file() && inner.is_dir() { &inner } else { path };
        return Part::open(folder, None);
    }
    let file = Arc::new(TensorFile::open(path)?);
    if let Some(config) = own_config(path) {
        let weights = Weights::of_file(&file, Naming::Diffusers);
        return Ok(Part { config: read_json(&config)?, path: config, weights });
    }
    let (naming, told) = infer::vae(&file)?;
    told_part(spec, "vae", Weights::of_file(&file, naming), told, assumed)
}

/// The config beside a file that diffusers wrote into a folder of its own.
pub(super) fn own_config(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name("config.json"))
        .filter(|config| name.starts_with("diffusion_pytorch_model") && config.is_file())
}

fn built_in_words(family: Family, assumed: &mut Vec<String>) -> Words {
    let pad = match family {
        Family::Sd1 => "<|endoftext|>",
        Family::Sd2 => "!",
    };
    assumed.push(format!("the tokenizer is CLIP's, padding with {pad}"));
    Words::BuiltIn(pad)
}

/// Optimizer steps of Stable Diffusion 2.x base, by which diffusers too tells it from the one that predicts v.
const SD2_BASE_STEPS: i64 = 875_000;

/// What the UNet of a file predicts, as far as it can be told, and by what.
fn prediction(file: &TensorFile, family: Family) -> (Prediction, String) {
    match (family, file.number("global_step")) {
        (Family::Sd1, _) => {
            (Prediction::Epsilon, "it predicts epsilon, as all of 1.x; if it was tuned to v: --prediction v".into())
        }
        (Family::Sd2, Some(SD2_BASE_STEPS)) => {
            (Prediction::Epsilon, format!("it predicts epsilon: its global_step is {SD2_BASE_STEPS}, as 2.x base"))
        }
        (Family::Sd2, _) => (
            Prediction::V,
            "it predicts v, at 768 pixels; if it is a 2.x base (512 pixels): --prediction epsilon".into(),
        ),
    }
}
