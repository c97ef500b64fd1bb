//! What a job needs and what it will do, said before it starts.

use std::path::Path;

use serde_json::json;

use super::{Error, print_json};
use crate::client::{Ready, words};
use crate::fs::Show;
use crate::protocol::{Estimate, FloatType, NO_TIME, TimeEstimate, TrainConfig};
use crate::workspace::{self, Concept, JobFolder, Preflight, effective_settings, photo_name};

/// Rows of a preflight: what, and how.
pub type Rows = Vec<(&'static str, String)>;

/// What of a job the estimate does not say: the settings of a training, how much there is to do.
#[derive(Default)]
pub struct Summary<'a> {
    /// The settings of a training.
    pub train: Option<&'a TrainConfig>,
    /// The settings among them that come from concept.toml.
    pub from_concept: toml::Table,
    /// More of it, in words.
    pub rows: Rows,
}

impl Summary<'_> {
    /// Something else, and how much of it.
    pub fn work(name: &'static str, value: String) -> Self {
        Self { rows: vec![(name, value)], ..Self::default() }
    }

    /// Say which run it is about, and by which method that learned: where none is named, it is the latest.
    ///
    /// # Errors
    /// Its run.toml cannot be read.
    pub fn about(mut self, run: Option<&JobFolder>) -> Result<Self, workspace::Error> {
        if let Some(run) = run {
            let train = run.run_spec()?.train;
            self.rows.insert(0, ("run", format!("{} by {}", run.id(), train.method.declaration().title)));
        }
        Ok(self)
    }
}

/// Say on stderr what will be done.
pub fn say(concept: &Concept, told: &Summary<'_>, ready: &Ready) {
    // The runner tells of prompts itself, also to those who look later.
    let estimate = ready.estimate.without_prompts();
    let (id, class_word) = (&concept.id, &concept.file.class_word);
    print_err(&[("concept", format!("{id} (a kind of {class_word})"))]);
    print_err(&rows(told, ready.asked.photos.as_ref(), &estimate));
}

/// Say on stderr which settings of all trainings of a plan come from concept.toml.
pub fn say_start(from_concept: &toml::Table) {
    print_err(words::from_concept(from_concept).as_slice());
}

/// Say on stderr what all jobs of a plan need together; each job may say something else.
pub fn say_plan(what: String, estimates: &[Estimate]) {
    let Some(largest) = estimates.iter().max_by_key(|estimate| estimate.peak_bytes) else { return };
    let mut all = largest.without_prompts();
    let times: Option<Vec<_>> = estimates.iter().map(|estimate| estimate.time.as_ref()).collect();
    all.time = all.time.zip(times).map(|(time, times)| TimeEstimate {
        total_seconds: times.iter().map(|time| time.total_seconds).sum(),
        step_seconds: times.iter().find_map(|time| time.step_seconds),
        ..time
    });
    // A training is where the photos are encoded and the UNet is; a scoring is where the score models are.
    for part in estimates.iter().flat_map(|estimate| &estimate.parts) {
        if !all.parts.iter().any(|known| known.name == part.name && known.path == part.path) {
            all.parts.push(part.clone());
        }
    }
    print_err(&rows(&Summary::work("jobs", what), None, &all));
}

fn print_err(rows: &[(&'static str, String)]) {
    for (name, value) in rows {
        errln!("{name:<11} {value}");
    }
}

/// All that can be known beforehand, as the result of a command; an error where the job is refused.
pub fn dry_run(concept: &Concept, told: &Summary<'_>, ready: &Ready, json: bool) -> Result<(), Error> {
    let (estimate, photos) = (&ready.estimate, ready.asked.photos.as_ref());
    let train = || photos.zip(told.train);
    if json {
        let shown = train().map(|(checked, config)| {
            let photo = |photo: &crate::workspace::Photo| {
                let (width, height) = photo.size;
                json!({
                    "path": photo.path, "width": width, "height": height, "turned": photo.turned,
                    "mask": photo.mask, "used": photo.how_cropped(config.crop),
                    "held_out": config.hold_out.as_ref() == Some(&photo_name(&photo.path)),
                })
            };
            checked.photos.iter().map(photo).collect::<Vec<_>>()
        });
        print_json(&json!({
            "concept": concept.id,
            "photos": shown,
            "settings": told.train,
            "from_concept": told.train.map(|_| &told.from_concept),
            "warnings": train().map(|(checked, config)| checked.training_warnings(config)),
            "estimate": estimate,
        }));
    } else {
        outln!("{:<11} {} (a kind of {})", "concept", concept.id, concept.file.class_word);
        for (name, value) in rows(told, photos, estimate) {
            outln!("{name:<11} {value}");
        }
    }
    // Room on the disk may be made until then.
    estimate.refusal.as_ref().map_or(Ok(()), |refusal| Err(Error::Job(refusal.clone())))
}

fn rows(told: &Summary<'_>, photos: Option<&Preflight>, estimate: &Estimate) -> Rows {
    let mut rows = Rows::new();
    // 0: the base model has no part in it.
    if estimate.resolution > 0 {
        rows.push(("base model", estimate.base_model.path.shown().to_string()));
    }
    for part in &estimate.parts {
        let millions = part.parameters as f64 / 1e6;
        // Score models compute in float32, whatever the pictures are made in.
        let scores = ["score_model", "dino_model"].contains(&part.name.as_str());
        let dtype = if scores { FloatType::F32 } else { estimate.dtype };
        let (disk, memory) = (words::bytes(part.bytes as u64), words::bytes(part.memory_bytes(dtype)));
        let types = part.types.join(", ");
        let value = format!("{}: {millions:.1} M numbers, {types} ({disk}), {dtype} in memory ({memory})", part.name);
        rows.push(("loads", value));
    }
    if estimate.resolution > 0 {
        rows.push(("pictures", format!("{0} × {0}", estimate.resolution)));
    }
    rows.extend(told.rows.iter().cloned());
    if let Some((checked, config)) = photos.zip(told.train) {
        for photo in &checked.photos {
            let name = photo_name(&photo.path);
            let mask = if photo.mask.is_some() { "mask" } else { "no mask" };
            let held_out = if config.hold_out.as_ref() == Some(&name) { ", held out" } else { "" };
            rows.push((
                "photo",
                format!("{}: {}, {mask}{held_out}", Path::new(&name).shown(), photo.how_cropped(config.crop)),
            ));
        }
        rows.extend(checked.training_warnings(config).into_iter().map(|warning| ("warning", warning)));
        rows.extend(words::from_concept(&told.from_concept));
        rows.extend(effective_settings(config));
    }
    rows.extend(estimate.prompt_warnings().into_iter().map(|warning| ("warning", warning)));
    rows.push(("device", estimate.device.clone()));
    let peak = format!("about {} in {}", words::bytes(estimate.peak_bytes), estimate.peak_in);
    rows.push((
        "memory",
        match &estimate.free {
            Some(free) => format!("{peak}; {} has {} free", free.limit, words::bytes(free.bytes)),
            None => peak,
        },
    ));
    if let Some(short) = &estimate.short {
        rows.push(("warning", format!("{short}; as it is it begins only if more is free by then")));
    }
    let time = estimate.time.as_ref().map(|time| {
        let step = time.step_seconds.map(|step| format!("{} a step, ", words::short_duration(step)));
        format!(
            "about {} ({}{} a picture), {}",
            words::duration(time.total_seconds),
            step.unwrap_or_default(),
            words::short_duration(time.picture_seconds),
            time.how
        )
    });
    rows.push(("time", time.unwrap_or_else(|| NO_TIME.into())));
    rows
}
