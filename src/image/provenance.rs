//! How a picture says what made it: the text `parameters`, which other programs read, and beside it the whole record, one
//! JSON object under `catbench`.

use std::path::Path;

use ::image::RgbImage;

use super::png::{read_png_text, write_png};
use super::{Error, Parameters};
use crate::json;
use crate::protocol::{OtherConcept, PictureRecord, SamplerKind, with_class_words};

/// The keyword of the whole record.
const RECORD: &str = "catbench";
/// The keyword of what other programs read.
const PARAMETERS: &str = "parameters";

/// What a picture says of how it was made.
#[derive(Debug, Clone, PartialEq)]
pub enum Provenance {
    /// All of it.
    Record(Box<PictureRecord>),
    /// What another program, or this one before it kept records, wrote.
    Parameters(Parameters),
    /// Nothing.
    Nothing,
}

impl Provenance {
    /// What it shows, as given.
    pub fn prompt(&self) -> Option<&str> {
        match self {
            Self::Record(record) => Some(&record.picture.prompt),
            Self::Parameters(parameters) => Some(parameters.prompt.as_str()).filter(|prompt| !prompt.is_empty()),
            Self::Nothing => None,
        }
    }

    /// Its seed.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.picture.seed),
            Self::Parameters(parameters) => parameters.get("Seed")?.parse().ok(),
            Self::Nothing => None,
        }
    }

    /// Steps that what it shows was trained, where it says so.
    pub fn trained_steps(&self) -> usize {
        match self {
            Self::Record(record) => record.trained_steps(),
            Self::Parameters(parameters) => {
                parameters.get("trained_steps").and_then(|steps| steps.parse().ok()).unwrap_or(0)
            }
            Self::Nothing => 0,
        }
    }
}

/// Write a picture with its record, whole or not at all. Equal input gives equal bytes.
pub fn write_picture(path: &Path, image: &RgbImage, record: &PictureRecord) -> Result<(), Error> {
    let json = json::to_string(record)
        .map_err(|error| Error::Encode { path: path.to_path_buf(), reason: error.to_string() })?;
    write_png(path, image, &[(PARAMETERS, &parameters(record).to_string()), (RECORD, &json)])
}

/// What the picture in `path` says of how it was made.
///
/// # Errors
/// Unreadable, no PNG or a damaged one, text over what is read, or a record that does not make sense.
pub fn read_provenance(path: &Path) -> Result<Provenance, Error> {
    let text = read_png_text(path)?;
    let said = |keyword: &str| text.iter().find(|(key, _)| key == keyword).map(|(_, value)| value.as_str());
    if let Some(json) = said(RECORD) {
        let wrong = |reason: String| Error::BadRecord { path: path.to_path_buf(), reason };
        let value: serde_json::Value = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(PictureRecord::FORMAT)) {
            let found = format.map_or("none".to_owned(), |format| format.to_string());
            return Err(wrong(format!("its format is {found}, this program reads {}", PictureRecord::FORMAT)));
        }
        return Ok(Provenance::Record(serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?));
    }
    if let Some(parameters) = said(PARAMETERS) {
        return Ok(Provenance::Parameters(Parameters::parse(parameters)));
    }
    let Some(prompt) = said("prompt") else { return Ok(Provenance::Nothing) };
    // Before there were records, each setting had a keyword of its own.
    let settings = text.iter().filter(|(key, _)| !["prompt", "negative_prompt"].contains(&key.as_str()));
    let name = |key: &String| if key == "seed" { "Seed".to_owned() } else { key.clone() };
    Ok(Provenance::Parameters(Parameters {
        prompt: prompt.to_owned(),
        negative_prompt: said("negative_prompt").unwrap_or_default().to_owned(),
        settings: settings.map(|(key, value)| (name(key), value.clone())).collect(),
    }))
}

/// As web UIs call it.
fn title(sampler: SamplerKind) -> &'static str {
    match sampler {
        SamplerKind::Ddim => "DDIM",
        SamplerKind::Pndm => "PLMS",
        SamplerKind::Euler => "Euler",
        SamplerKind::EulerAncestral => "Euler a",
        SamplerKind::DpmPlusPlus2m => "DPM++ 2M",
        SamplerKind::UniPc => "UniPC",
    }
}

/// What other programs read of `record`: they know no concept, so the class word stands in its place.
fn parameters(record: &PictureRecord) -> Parameters {
    let picture = &record.picture;
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut settings = vec![
        ("Steps", picture.steps.to_string()),
        ("Sampler", title(picture.sampler).to_owned()),
        ("Schedule type", if picture.karras { "Karras" } else { "Automatic" }.to_owned()),
        ("CFG scale", picture.guidance_scale.to_string()),
        ("Seed", picture.seed.to_string()),
        ("Size", format!("{}x{}", record.width, record.height)),
        ("Model hash", record.base_model_sha256.chars().take(10).collect()),
        ("Model", stem(&record.base_model.path)),
    ];
    if picture.eta > 0.0 {
        settings.push(("Eta", picture.eta.to_string()));
    }
    settings.push(("Version", format!("catbench {}", record.version)));
    let others: Vec<&OtherConcept> = record.concepts.iter().map(|used| &used.concept).collect();
    let with_word = |text: &str| with_class_words(text, &record.class_word, &others);
    Parameters {
        prompt: with_word(&picture.prompt),
        negative_prompt: with_word(&picture.negative_prompt),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}
