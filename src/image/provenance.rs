//! How a picture says what made it: the text `parameters`, which other programs read, and beside it the whole record, one
//! JSON object under `catbench`.

use std::path::Path;

use ::image::RgbImage;

use super::carried::{Carried, MAKER_NOTE, USER_COMMENT};
use super::png::{MAX_TEXT, read_png_text, write_png};
use super::read::bytes_of;
use super::{Error, Kind, Parameters, kind_of, programs};
use crate::json;
use crate::protocol::{OtherConcept, PictureConfig, PictureRecord, Row, SamplerKind, text_of, with_class_words};

/// The keyword of the whole record.
const RECORD: &str = "catbench";
/// The keyword of what other programs read.
pub(super) const PARAMETERS: &str = "parameters";
/// The keyword of XMP.
pub(super) const XMP: &str = "XML:com.adobe.xmp";

/// What a picture says of how it was made.
#[derive(Debug, Clone, PartialEq)]
pub enum Provenance {
    /// All of it.
    Record(Box<PictureRecord>),
    /// What another program, or this one before it kept records, wrote.
    Parameters(Parameters),
    /// There is text of a kind that is not read here, under these keywords.
    Unread(Vec<String>),
    /// Nothing.
    Nothing,
}

impl Provenance {
    /// What it shows, as given.
    pub fn prompt(&self) -> Option<&str> {
        match self {
            Self::Record(record) => Some(&record.picture.prompt),
            Self::Parameters(parameters) => Some(parameters.prompt.as_str()).filter(|prompt| !prompt.is_empty()),
            Self::Unread(_) | Self::Nothing => None,
        }
    }

    /// Its seed.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.picture.seed),
            Self::Parameters(parameters) => parameters.get("Seed")?.parse().ok(),
            Self::Unread(_) | Self::Nothing => None,
        }
    }

    /// Steps that what it shows was trained, where it says so.
    pub fn trained_steps(&self) -> usize {
        match self {
            Self::Record(record) => record.trained_steps(),
            Self::Parameters(parameters) => {
                parameters.get("trained_steps").and_then(|steps| steps.parse().ok()).unwrap_or(0)
            }
            Self::Unread(_) | Self::Nothing => 0,
        }
    }
}

/// Write a picture with its record, whole or not at all. Equal input gives equal bytes.
pub fn write_picture(path: &Path, image: &RgbImage, record: &PictureRecord) -> Result<(), Error> {
    let json = json::to_string(record)
        .map_err(|error| Error::Encode { path: path.to_path_buf(), reason: error.to_string() })?;
    write_png(path, image, &[(PARAMETERS, &parameters(record).to_string()), (RECORD, &json)])
}

/// What the picture in `path` says of how it was made: this program's record, else what other programs wrote.
///
/// # Errors
/// Unreadable, neither PNG, JPEG nor WebP, a damaged PNG, text over what is read, or a record that does not make sense.
pub fn read_provenance(path: &Path) -> Result<Provenance, Error> {
    let text = read_text(path)?;
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
    Ok(match programs::read(&text) {
        Some(parameters) => Provenance::Parameters(parameters),
        None if text.is_empty() => Provenance::Nothing,
        None => Provenance::Unread(text.into_iter().map(|(keyword, _)| keyword).collect()),
    })
}

/// The text that the picture in `path` carries, wherever its format has it, with keywords.
fn read_text(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let kind = kind_of(path);
    if kind == Some(Kind::Png) {
        let mut text = read_png_text(path)?;
        let carried = Carried::of(&bytes_of(path)?);
        text.retain(|(keyword, _)| !keyword.starts_with("Raw profile type "));
        text.extend(exif_texts(&carried));
        return Ok(text);
    }
    let bytes = bytes_of(path)?;
    match kind {
        Some(kind) if kind.is_read() => {}
        Some(kind) => return Err(Error::UnsupportedFormat { path: path.to_path_buf(), kind: kind.word().into() }),
        None => return Err(Error::NotAnImage { path: path.to_path_buf() }),
    }
    let carried = Carried::of(&bytes);
    let mut text = exif_texts(&carried);
    text.extend(carried.xmp.map(|xmp| (XMP.to_owned(), xmp)));
    text.extend(carried.comments.into_iter().map(|comment| ("Comment".to_owned(), comment)));
    if text.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_TEXT {
        return Err(Error::TooMuchText { path: path.to_path_buf(), limit: MAX_TEXT });
    }
    Ok(text)
}

/// The texts of EXIF in which programs say how a picture was made.
fn exif_texts(carried: &Carried) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (tag, value) in carried.exif_texts() {
        let keyword = match tag {
            _ if value.trim().is_empty() => continue,
            0x010e => "ImageDescription",
            USER_COMMENT => "UserComment",
            // Cameras write what no program reads into these: there is nothing to be told of it.
            MAKER_NOTE if value == "fooocus" || value == "a1111" => "fooocus_scheme",
            // ComfyUI calls a picture's camera `prompt:` and its graph.
            _ => match value.split_once(":{") {
                Some((name @ ("prompt" | "Prompt" | "workflow" | "Workflow"), _)) => {
                    texts.push((name.to_lowercase(), value[name.len() + 1..].to_owned()));
                    continue;
                }
                _ => continue,
            },
        };
        texts.push((keyword.to_owned(), value));
    }
    texts
}

/// The settings that web UIs write into every picture, in their order.
const FIRST: [&str; 5] = ["Steps", "Sampler", "Schedule type", "CFG scale", "Seed"];

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
    let value = |row: &Row| match row.name {
        "sampler" => title(picture.sampler).to_owned(),
        "karras" => if picture.karras { "Karras" } else { "Automatic" }.to_owned(),
        name => text_of(&picture.value(name)),
    };
    let named = |web: &&str| PictureConfig::ROWS.iter().find(|row| row.web == Some(web));
    let mut settings: Vec<(&str, String)> = FIRST.iter().filter_map(|web| Some((*web, value(named(web)?)))).collect();
    settings.extend([
        ("Size", format!("{}x{}", record.width, record.height)),
        ("Model hash", record.base_model_sha256.chars().take(10).collect()),
        ("Model", stem(&record.base_model.path)),
    ]);
    let usual = PictureConfig::default();
    let others = PictureConfig::ROWS.iter().filter(|row| picture.value(row.name) != usual.value(row.name));
    settings.extend(others.filter_map(|row| Some((row.web.filter(|web| !FIRST.contains(web))?, value(row)))));
    settings.push(("Version", format!("catbench {}", record.version)));
    let others: Vec<&OtherConcept> = record.concepts.iter().map(|used| &used.concept).collect();
    let with_word = |text: &str| with_class_words(text, &record.class_word, &others);
    Parameters {
        program: None,
        prompt: with_word(&picture.prompt),
        negative_prompt: with_word(&picture.negative_prompt),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}
