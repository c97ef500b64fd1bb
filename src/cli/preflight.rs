//! What a job needs and what it will do, said before it starts.

use serde_json::json;

use super::{Error, print_json};
use crate::client::words;
use crate::protocol::{Estimate, FloatType, TrainConfig};
use crate::workspace::{Concept, Preflight, effective_settings};

/// Refuse what cannot be done here.
pub fn refuse(estimate: &Estimate) -> Result<(), Error> {
    estimate.refusal.as_ref().map_or(Ok(()), |refusal| Err(Error::Job(refusal.clone())))
}

/// Say on stderr what will be done.
pub fn say(concept: &Concept, train: Option<(&Preflight, &TrainConfig)>, estimate: &Estimate) {
    // The runner tells of cut prompts itself, also to those who look later.
    let estimate = Estimate { cut_prompts: Vec::new(), ..estimate.clone() };
    for (name, value) in rows(concept, train, &estimate) {
        eprintln!("{name:<11} {value}");
    }
}

/// All that can be known beforehand, as the result of a command; an error where the job is refused.
pub fn dry_run(
    concept: &Concept,
    train: Option<(&Preflight, &TrainConfig)>,
    estimate: &Estimate,
    json: bool,
) -> Result<(), Error> {
    if json {
        let photos = train.map(|(checked, config)| {
            let photo = |photo: &crate::workspace::Photo| {
                let (width, height) = photo.size;
                json!({
                    "path": photo.path, "width": width, "height": height, "turned": photo.turned,
                    "mask": photo.mask, "used": photo.how_cropped(config.crop),
                })
            };
            checked.photos.iter().map(photo).collect::<Vec<_>>()
        });
        print_json(&json!({
            "concept": concept.id,
            "photos": photos,
            "settings": train.map(|(_, config)| config),
            "warnings": train.map(|(checked, _)| &checked.warnings),
            "estimate": estimate,
        }));
    } else {
        for (name, value) in rows(concept, train, estimate) {
            println!("{name:<11} {value}");
        }
    }
    refuse(estimate)
}

fn rows(
    concept: &Concept,
    train: Option<(&Preflight, &TrainConfig)>,
    estimate: &Estimate,
) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("concept", format!("{} (a kind of {})", concept.id, concept.file.class_word)),
        ("base model", estimate.base_model.path.display().to_string()),
    ];
    for part in &estimate.parts {
        let millions = part.parameters as f64 / 1e6;
        // The score model computes in float32, whatever the pictures are made in.
        let dtype = if part.name == "score_model" { FloatType::F32 } else { estimate.dtype };
        let (disk, memory) = (words::bytes(part.bytes as u64), words::bytes(part.memory_bytes(dtype)));
        let types = part.types.join(", ");
        let value = format!("{}: {millions:.1} M numbers, {types} ({disk}), {dtype} in memory ({memory})", part.name);
        rows.push(("loads", value));
    }
    rows.push(("pictures", format!("{0} × {0}", estimate.resolution)));
    if let Some((checked, config)) = train {
        for photo in &checked.photos {
            let name = photo.path.file_name().unwrap_or_default().to_string_lossy();
            let mask = if photo.mask.is_some() { "mask" } else { "no mask" };
            rows.push(("photo", format!("{name}: {}, {mask}", photo.how_cropped(config.crop))));
        }
        rows.extend(checked.warnings.iter().map(|warning| ("warning", warning.clone())));
        rows.extend(effective_settings(config));
    }
    for prompt in &estimate.cut_prompts {
        let value =
            format!("prompt \"{}\" is over {} tokens: \"{}\" is not read", prompt.prompt, prompt.limit, prompt.cut);
        rows.push(("warning", value));
    }
    rows.push(("device", estimate.device.clone()));
    let peak = format!("about {} in {}", words::bytes(estimate.peak_bytes), estimate.peak_in);
    rows.push((
        "memory",
        match &estimate.free {
            Some(free) => format!("{peak}; {} has {} free", free.limit, words::bytes(free.bytes)),
            None => peak,
        },
    ));
    let time = &estimate.time;
    let step = time.step_seconds.map(|step| format!("{} a step, ", words::short_duration(step)));
    let value = format!(
        "about {} ({}{} a picture), {}",
        words::duration(time.total_seconds),
        step.unwrap_or_default(),
        words::short_duration(time.picture_seconds),
        time.how
    );
    rows.push(("time", value));
    rows
}
