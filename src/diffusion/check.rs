//! Whether the files of a base model make one: everything that is missing, misshapen or not supported, found without
//! reading a weight.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Result};
use super::files::{ModelFiles, Words};
use super::finite::is_finite;
use super::infer::Family;
use super::original::{CLIP, OPEN_CLIP, UNET, VAE};
use super::scheduler::PredictionType;
use super::text_encoder::TextEncoder;
use super::tokenizer::Tokenizer;
use super::unet::UNet;
use super::vae::Vae;
use super::weights::{Part, SharedAudit};
use crate::fs::Show;
use crate::protocol::{IgnoredTensors, ModelReport, ModelSpec, PartReport, UNKNOWN};

/// What an audit of all parts found.
pub(super) struct Findings {
    pub problems: Vec<Error>,
    /// Side of its pictures in pixels; 0 when it cannot be told.
    resolution: usize,
    pub parts: Vec<PartReport>,
    ignored: Vec<IgnoredTensors>,
}

/// Whether the parts of a model fit each other.
pub(super) fn fits(files: &ModelFiles, texts: &[(TextEncoder, Tokenizer)], unet: &UNet, vae: &Vae) -> Result<()> {
    let mismatch = |cause: String| Err(Error::Format { path: files.spec.path.clone(), cause });
    let text_width = texts.iter().map(|(text_encoder, _)| text_encoder.hidden_size()).sum::<usize>();
    let unet_width = unet.cross_attention_dim();
    if unet_width != text_width {
        return mismatch(format!("its UNet reads text of width {unet_width}, its text encoder writes {text_width}"));
    }
    let (unet_channels, vae_channels) = (unet.in_channels(), vae.latent_channels());
    if unet_channels != vae_channels {
        let what = match unet_channels {
            9 => "an inpainting model",
            8 => "an image-editing model",
            5 => "a depth-to-image model",
            7 => "an upscaling model",
            _ => "a model for something else than text to image",
        };
        return mismatch(format!(
            "{what} (its UNet takes {unet_channels} channels, its VAE makes {vae_channels}), which is not supported: use the \
             text-to-image model it was made from"
        ));
    }
    for ((text_encoder, tokenizer), text) in texts.iter().zip(&files.texts) {
        let (tokens, known) = (tokenizer.vocab_size(), text_encoder.vocab_size());
        if tokens > known {
            let built_in = matches!(text.words, Words::BuiltIn(_));
            let remedy = if built_in { ": give its own tokenizer/ with --config" } else { "" };
            return mismatch(format!("its tokenizer has {tokens} tokens, its text encoder knows {known}{remedy}"));
        }
    }
    Ok(())
}

impl ModelFiles {
    /// Build every part without reading it, and note all that is wrong.
    pub(super) fn audit(&self) -> Findings {
        let mut problems = Vec::new();
        let mut audits: Vec<(&'static str, SharedAudit)> = Vec::new();
        let built = self.texts.iter().map(|text| self.build(text.name, TextEncoder::load, &mut audits, &mut problems));
        let text_encoders: Vec<Option<TextEncoder>> = built.collect();
        let unet = self.build("unet", UNet::load, &mut audits, &mut problems);
        let vae = self.build("vae", Vae::load, &mut audits, &mut problems);
        let mut has_text = true;
        let mut texts = Vec::new();
        for (text_encoder, text) in text_encoders.into_iter().zip(&self.texts) {
            has_text &= text_encoder.is_some();
            let Some(text_encoder) = text_encoder else { continue };
            match text.tokenizer(text_encoder.max_length()) {
                Ok(tokenizer) => texts.push((text_encoder, tokenizer)),
                Err(problem) => problems.push(problem),
            }
        }
        if let Err(problem) = self.schedule() {
            problems.push(problem);
        }
        if let (Some(unet), Some(vae)) = (&unet, &vae)
            && texts.len() == self.texts.len()
            && let Err(problem) = fits(self, &texts, unet, vae)
        {
            problems.push(problem);
        }
        // Of a part that could not be built nothing is used.
        let built = |part: &str| match part {
            "unet" => unet.is_some(),
            "vae" => vae.is_some(),
            _ => has_text,
        };
        let resolution = unet.iter().zip(&vae).map(|(unet, vae)| unet.sample_size() * vae.factor()).sum();
        let mut used = BTreeSet::new();
        let mut parts = Vec::new();
        for (name, audit) in &audits {
            let audit = audit.lock();
            used.extend(audit.used.iter().cloned());
            parts.push(PartReport {
                name: (*name).to_owned(),
                path: self.part(name).weights.place().to_owned(),
                parameters: audit.elements.values().sum(),
                bytes: audit.bytes,
                types: audit.elements.keys().cloned().collect(),
            });
        }
        let (ignored, unknown) = self.leftovers(&used, &built);
        if let Some(first) = unknown.first() {
            let count = unknown.len();
            let cause = match self.single {
                Some(_) => format!(
                    "{count} tensors that no {} has, the first: {first}: it is another kind of model",
                    self.family.word()
                ),
                None => format!(
                    "{count} tensors of layers that its configs do not have, the first: {first}: configs and weights do \
                     not match"
                ),
            };
            problems.push(Error::Format { path: self.spec.path.clone(), cause });
        }
        Findings { problems, resolution, parts, ignored }
    }

    /// The tensors that hold NaN or infinity, each with its file, in words. Reads all of them.
    pub fn not_finite(&self) -> Result<Vec<String>> {
        let files = self.parts().into_iter().flat_map(|(_, part)| part.weights.opened());
        let mut files: Vec<_> = files.collect();
        files.dedup_by_key(|file| file.path());
        let mut found = Vec::new();
        for file in files {
            for (name, info) in file.tensors().filter(|(_, info)| info.is_float()) {
                if !is_finite(&file.read(name, info, None)?)? {
                    found.push(format!("{}: tensor {name} holds numbers that are not finite", file.path().shown()));
                }
            }
        }
        Ok(found)
    }

    /// Refuse what would not work, before anything is read.
    pub fn check(&self) -> Result<()> {
        if self.sound.get() {
            return Ok(());
        }
        let mut problems = self.audit().problems;
        match problems.len() {
            0 => {
                self.sound.set(true);
                Ok(())
            }
            1 => Err(problems.remove(0)),
            count => {
                let first = Box::new(problems.remove(0));
                Err(Error::Several { path: self.spec.path.clone(), count, first })
            }
        }
    }

    fn part(&self, name: &str) -> &Part {
        self.parts().into_iter().find(|(part, _)| *part == name).map_or(&self.unet, |(_, part)| part)
    }

    fn build<T>(
        &self,
        name: &'static str,
        load: impl FnOnce(&Part) -> Result<T>,
        audits: &mut Vec<(&'static str, SharedAudit)>,
        problems: &mut Vec<Error>,
    ) -> Option<T> {
        let (part, audit) = self.part(name).audited();
        let built = load(&part);
        problems.append(&mut audit.lock().problems);
        audits.push((name, audit));
        built.map_err(|problem| problems.push(problem)).ok()
    }

    /// The tensors that no part uses: what they are and how many, and those that should not be there.
    fn leftovers(&self, used: &BTreeSet<String>, built: &dyn Fn(&str) -> bool) -> (Vec<IgnoredTensors>, Vec<String>) {
        let mut ignored: BTreeMap<&str, usize> = BTreeMap::new();
        let mut unknown = Vec::new();
        let parts = self.parts();
        let mut files: Vec<_> =
            parts.iter().flat_map(|(name, part)| part.weights.opened().iter().map(|file| (*name, file))).collect();
        files.dedup_by_key(|(_, file)| file.path());
        for (part, file) in files {
            let in_original_naming = self.single.as_ref().is_some_and(|single| single.path() == file.path());
            for (name, _) in file.tensors().filter(|(name, _)| !used.contains(*name)) {
                let what = match in_original_naming {
                    true => self.leftover(name, built),
                    false if built(part) => leftover_of(part, name),
                    false => Some("not used"),
                };
                match what {
                    Some(what) => *ignored.entry(what).or_default() += 1,
                    None => unknown.push(name.to_owned()),
                }
            }
        }
        let ignored = ignored.into_iter().map(|(what, tensors)| IgnoredTensors { what: what.to_owned(), tensors });
        (ignored.collect(), unknown)
    }

    /// What the tensor `name` of a file in the original naming is, if it is known to be of no use.
    fn leftover(&self, name: &str, built: &dyn Fn(&str) -> bool) -> Option<&'static str> {
        /// The rest of CLIP: only its text part is read.
        const CLIP_REST: [&str; 6] =
            ["position_ids", "text_projection", "logit_scale", "attn_mask", "visual_projection", "vision_model."];
        // Why a part could not be built is said; that its tensors are not used follows.
        for (part, prefixes) in [("vae", &[VAE][..]), ("text_encoder", &[CLIP, OPEN_CLIP]), ("unet", &[UNET])] {
            if !built(part) && prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                return Some("not used");
            }
        }
        // The running average is left out also where both are there: the model itself is what samples were made with.
        if name.starts_with("model_ema.") {
            return Some("averaged weights (EMA)");
        }
        if name.starts_with(VAE) {
            if self.spec.vae.is_some() {
                return Some("its own VAE, which is replaced");
            }
            return name.starts_with("first_stage_model.loss.").then_some("what the VAE was trained with");
        }
        if name.starts_with(CLIP) || name.starts_with(OPEN_CLIP) {
            let config = self.texts.first().map(|text| &text.part.config);
            let layers = config.and_then(|config| config["num_hidden_layers"].as_u64()).unwrap_or(0);
            let last =
                self.family == Family::Sd2 && name.starts_with(&format!("{OPEN_CLIP}transformer.resblocks.{layers}."));
            return (last || CLIP_REST.iter().any(|rest| name.contains(rest)))
                .then_some("parts of CLIP that are not used");
        }
        (!name.starts_with(UNET)).then_some("left from training")
    }
}

/// What the tensor `name` in diffusers' naming, which `part` does not use, is; none where it is of a layer that the config
/// does not have.
fn leftover_of(part: &str, name: &str) -> Option<&'static str> {
    let layers: &[&str] = match part {
        "unet" => {
            &["conv_in.", "time_embedding.", "down_blocks.", "mid_block.", "up_blocks.", "conv_norm_out.", "conv_out."]
        }
        "vae" => &["encoder.", "decoder.", "quant_conv.", "post_quant_conv."],
        _ => &["text_model.encoder.layers.", "encoder.layers."],
    };
    (!layers.iter().any(|layer| name.starts_with(layer))).then_some("not used")
}

/// What a look at the files of a base model tells, all but its hash.
pub fn check(spec: &ModelSpec) -> ModelReport {
    let mut report = ModelReport {
        model: spec.clone(),
        family: UNKNOWN.into(),
        prediction: UNKNOWN.into(),
        resolution: 0,
        tokenizer: UNKNOWN.into(),
        assumed: Vec::new(),
        parts: Vec::new(),
        ignored: Vec::new(),
        problems: Vec::new(),
        files: Vec::new(),
        hash: None,
    };
    let files = match ModelFiles::open(spec) {
        Ok(files) => files,
        Err(problem) => {
            report.problems.push(problem.to_string());
            return report;
        }
    };
    let findings = files.audit();
    report.family = files.family.word().into();
    if let Ok(schedule) = files.schedule() {
        report.prediction = match schedule.prediction_type() {
            PredictionType::Epsilon => "epsilon".into(),
            PredictionType::VPrediction => "v_prediction".into(),
        };
    }
    report.resolution = findings.resolution;
    let words = files.texts.iter().map(|text| match &text.words {
        Words::Folder(folder) => folder.shown().to_string(),
        Words::BuiltIn(pad) => format!("built in (CLIP), padding with {pad}"),
    });
    report.tokenizer = words.collect::<Vec<_>>().join(", ");
    report.files = files.needed();
    report.assumed = files.assumed;
    report.parts = findings.parts;
    report.ignored = findings.ignored;
    report.problems = findings.problems.iter().map(Error::to_string).collect();
    report
}
