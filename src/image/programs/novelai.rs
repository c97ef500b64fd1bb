//! NovelAI: the prompt as `Description`, the settings as JSON in `Comment`, the model as `Source`.

use super::{Names, Texts, settings, size, text};
use crate::image::Parameters;

const NAMES: Names<'static> = &[
    ("steps", "Steps"),
    ("sampler", "Sampler"),
    ("noise_schedule", "Schedule type"),
    ("scale", "CFG scale"),
    ("seed", "Seed"),
];

pub(super) fn read(texts: &Texts<'_>) -> Option<Parameters> {
    let comment = texts.object("Comment")?;
    let named = texts.get("Software").is_some_and(|software| software == "NovelAI");
    let alike = ["uc", "scale"].iter().all(|name| comment.contains_key(*name));
    if !named && !alike {
        return None;
    }
    let mut said = settings(&comment, NAMES);
    said.extend(size(&comment));
    said.extend(texts.get("Source").map(|source| ("Model".to_owned(), source.to_owned())));
    let described = texts.get("Description").map(str::trim).filter(|text| !text.is_empty());
    Some(Parameters {
        program: Some("NovelAI"),
        prompt: described.map_or_else(|| text(comment.get("prompt")), str::to_owned),
        negative_prompt: text(comment.get("uc")),
        settings: said,
    })
}
