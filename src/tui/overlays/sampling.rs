//! What a sampling needs to be told.

use super::entry::{Entry, Field};
use crate::protocol::SampleConfig;
use crate::tui::deeds::{self, Effect};
use crate::workspace::{Concept, JobFolder, LineCount, PromptList, Values};

/// Have prompts and their settings typed, for a sampling with what `run` has learned; without a run, of the class word.
/// `prompts` stands there already: a prompt, or the name of a prompt list.
pub fn open(concept: &Concept, run: Option<JobFolder>, prompts: &str) -> Effect {
    let usual = concept.sampling();
    let lists = concept.folder.join("prompts");
    let fields = vec![
        Field::new("prompts", "a prompt with {concept} in it, or the name of a prompt list", prompts),
        Field::new("images", "a prompt; image i has the seed below plus i", &usual.images_per_prompt.to_string()),
        Field::new("seed", "of the first image of each prompt", &usual.seed.to_string()),
        Field::new("steps", "of denoising", &usual.steps.to_string()),
        Field::new("guidance", "classifier-free; 1 switches it off", &usual.guidance_scale.to_string()),
        Field::new("strength", "0 is the base model, 1 as trained", &usual.strength.to_string()),
    ];
    let title = match &run {
        Some(run) => format!("Sample run {}", run.id()),
        None => "Sample the class word: nothing is trained yet".into(),
    };
    let (concept, lists_again) = (concept.clone(), lists.clone());
    let entry = Entry::new(&title, fields, move |texts| match config(&texts, &concept, &lists) {
        Ok((config, list)) => deeds::sample(concept.clone(), run.clone(), config, list),
        Err(wrong) => Effect::Notice(wrong),
    });
    let usual = SampleConfig::default();
    Effect::over(entry.checked(move |texts, world| {
        let concept = world.open.as_ref().map(|open| &open.concept).ok_or("no concept is open")?;
        let (config, list) = config(texts, concept, &lists_again)?;
        let counts = list.counts(&Values::default(), &config);
        let sum = |of: fn(&LineCount) -> u64| counts.iter().map(of).fold(0, u64::saturating_add);
        let (prompts, images) = (sum(|line| line.prompts), sum(|line| line.pictures));
        let steps = if config.steps == usual.steps { String::new() } else { format!(", {} steps each", config.steps) };
        Ok(format!("✓ {images} pictures of {prompts} prompts{steps}; Enter in the last line queues them"))
    }))
}

fn config(texts: &[String], concept: &Concept, lists: &std::path::Path) -> Result<(SampleConfig, PromptList), String> {
    fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("{name}: {text:?} is no number that it can be"))
    }
    let [prompts, images, seed, steps, guidance, strength] = texts else { return Err("all lines are needed".into()) };
    let named = [lists.join(prompts), lists.join(format!("{prompts}.txt"))];
    let list = named.iter().find(|list| !prompts.is_empty() && list.is_file());
    let names = concept.list_names();
    let list = match prompts.as_str() {
        "" => return Err("a prompt, or the name of a prompt list".into()),
        prompt => match list {
            Some(list) => PromptList::read(list, &names).map_err(|error| error.to_string())?,
            None => PromptList::of_prompts(&[prompt.to_owned()], &names).map_err(|error| error.to_string())?,
        },
    };
    let images_per_prompt: usize = number("images", images)?;
    let steps: usize = number("steps", steps)?;
    if images_per_prompt == 0 || steps == 0 {
        return Err("images and steps are at least 1".into());
    }
    let config = SampleConfig {
        prompts: vec![prompts.clone()],
        images_per_prompt,
        seed: number("seed", seed)?,
        steps,
        guidance_scale: number("guidance", guidance)?,
        strength: number("strength", strength)?,
        ..concept.sampling()
    };
    config.check().map_err(|error| error.to_string())?;
    // What is too much is told while it is typed.
    list.pictures(&Values::default(), &config).map_err(|error| error.to_string())?;
    Ok((config, list))
}
