//! Fooocus: JSON as `parameters` of a PNG or comment of a JPEG or WebP, beside `fooocus_scheme`. Its log of versions before 2.2 has
//! the same with titles for names.

use serde_json::{Map, Value};

use super::{Names, model, plain, settings, text};
use crate::image::Parameters;

const NAMES: Names<'static> = &[
    ("steps", "Steps"),
    ("sampler", "Sampler"),
    ("scheduler", "Schedule type"),
    ("guidance_scale", "CFG scale"),
    ("seed", "Seed"),
];
/// What it has that others have not.
const OWN: Names<'static> = &[
    ("performance", "Performance"),
    ("sharpness", "Sharpness"),
    ("styles", "Styles"),
    ("refiner_model", "Refiner"),
    ("version", "Version"),
];

pub(super) fn read(object: &Map<String, Value>) -> Option<Parameters> {
    // "Guidance Scale" of the log is guidance_scale.
    let named = object.iter().map(|(name, value)| (name.to_lowercase().replace(' ', "_"), value.clone()));
    let object: Map<String, Value> = named.collect();
    let own = ["sharpness", "performance", "adm_guidance", "fooocus_v2_expansion", "prompt_expansion"];
    if !object.contains_key("prompt") || !own.iter().any(|name| object.contains_key(*name)) {
        return None;
    }
    let mut said = settings(&object, NAMES);
    // "(1152, 896)"
    let size =
        object.get("resolution").and_then(plain).map(|size| size.replace(['(', ')', ' '], "").replace([',', '×'], "x"));
    said.extend(size.map(|size| ("Size".into(), size)));
    said.extend(model(&object, "base_model"));
    said.extend(settings(&object, OWN).into_iter().filter(|(_, value)| value != "None"));
    Some(Parameters {
        program: Some("Fooocus"),
        prompt: text(object.get("prompt")),
        negative_prompt: text(object.get("negative_prompt")),
        settings: said,
    })
}
