//! SwarmUI: JSON with `sui_image_params`, as `parameters` of a PNG or comment of a JPEG.

use serde_json::{Map, Value};

use super::{Names, model, settings, size, text};
use crate::image::Parameters;

const NAMES: Names<'static> = &[
    ("steps", "Steps"),
    ("sampler", "Sampler"),
    ("scheduler", "Schedule type"),
    ("cfgscale", "CFG scale"),
    ("seed", "Seed"),
];

pub(super) fn read(object: &Map<String, Value>) -> Option<Parameters> {
    let params = object.get("sui_image_params")?.as_object()?;
    let mut said = settings(params, NAMES);
    said.extend(size(params));
    said.extend(model(params, "model"));
    said.extend(settings(params, &[("swarm_version", "Version")]));
    Some(Parameters {
        program: Some("SwarmUI"),
        prompt: text(params.get("prompt")),
        negative_prompt: text(params.get("negativeprompt")),
        settings: said,
    })
}
