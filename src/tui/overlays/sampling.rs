//! What a sampling needs to be told.

use std::path::Path;
use std::str::FromStr;

use super::entry::{Entry, Field};
use crate::client::words::count;
use crate::client::{self, Sampling};
use crate::protocol::{Axis, PictureConfig, SampleConfig, SamplerKind, SeedRule};
use crate::tui::deeds::{self, Effect};
use crate::workspace::{Concept, Home, JobFolder, LineCount, ListNames, PromptList, Values, values_of};

/// What the last line takes, each as on the command line.
const MORE: &str = "--negative TEXT --noise torch --eta E --checkpoints all --grid seed,prompt --with NAME=0.5";

/// Have prompts and their settings typed, for a sampling with what `run` has learned; without a run, of the class word.
/// `prompts` stands there already: a prompt, or the name of a prompt list.
pub fn open(concept: &Concept, run: Option<JobFolder>, prompts: &str) -> Effect {
    let usual = match usual(concept, run.as_ref()) {
        Ok(usual) => usual,
        Err(wrong) => return Effect::Notice(wrong),
    };
    let samplers = format!("{}; or euler karras", SamplerKind::WORDS.join(", "));
    let fields = vec![
        Field::new("prompts", "a prompt with {concept} in it, or the name of a prompt list", prompts),
        Field::new("images", "a prompt", &usual.images_per_prompt.to_string()),
        Field::new("seeds", "none: each prompt has its own; or the first of each prompt, also several: 1,2,7..9", ""),
        Field::new("steps", "of denoising", &usual.picture.steps.to_string()),
        Field::new(
            "guidance",
            "classifier-free; 1 switches it off; also several",
            &usual.picture.guidance_scale.to_string(),
        ),
        Field::new(
            "strength",
            "0 is the base model, 1 as trained; also several: 0..1..0.25",
            &usual.picture.strength.to_string(),
        ),
        Field::new("sampler", &samplers, usual.picture.sampler.word()),
        Field::new("more", MORE, ""),
    ];
    let title = match &run {
        Some(run) => format!("Sample run {}", run.id()),
        None => "Sample the class word: nothing is trained yet".into(),
    };
    let (of, own) = (concept.clone(), run.clone());
    let entry = Entry::new(&title, fields, move |texts| match wanted(&texts, &of, own.as_ref()) {
        Ok(sampling) => deeds::sample(of.clone(), own.clone(), sampling),
        Err(wrong) => Effect::Notice(wrong),
    });
    Effect::over(entry.checked(move |texts, world| {
        let concept = world.open.as_ref().map(|open| &open.concept).ok_or("no concept is open")?;
        let Sampling { config, list, values, .. } = wanted(texts, concept, run.as_ref())?;
        // Counted, not made: this is done with every key.
        list.count(&values, &config).map_err(|error| error.to_string())?;
        let counts = list.counts(&values, &config);
        let sum = |of: fn(&LineCount) -> u64| counts.iter().map(of).fold(0, u64::saturating_add);
        let (prompts, images) = (sum(|line| line.prompts), sum(|line| line.pictures));
        let (steps, usual) = (config.picture.steps, SampleConfig::default().picture.steps);
        let steps = if steps == usual { String::new() } else { format!(", {steps} steps each") };
        Ok(format!(
            "✓ {} of {}{steps}; Enter in the last line says what they need",
            count(images, "picture"),
            count(prompts, "prompt")
        ))
    }))
}

/// How pictures of `run` are sampled when nothing else is typed.
fn usual(concept: &Concept, run: Option<&JobFolder>) -> Result<SampleConfig, String> {
    Ok(concept.sampling(JobFolder::preset_of(run).map_err(|error| error.to_string())?))
}

/// What is typed, as a sampling.
fn wanted(texts: &[String], concept: &Concept, run: Option<&JobFolder>) -> Result<Sampling, String> {
    let [prompts, images, seeds, steps, guidance, strength, sampler, more] = texts else {
        return Err("all lines are needed".into());
    };
    let seeds: Vec<u64> = if seeds.trim().is_empty() { Vec::new() } else { numbers("seeds", seeds)? };
    let (guidance_scales, strengths) = (numbers("guidance", guidance)?, numbers("strength", strength)?);
    let one = |name: &str| format!("{name}: at least one");
    let (sampler, karras) =
        sampler.strip_suffix("karras").map_or((sampler.as_str(), false), |rest| (rest.trim(), true));
    let mut config = usual(concept, run)?;
    let usual_images = config.images_per_prompt;
    for (name, text) in [("images", images), ("steps", steps)] {
        config.set_text(name, text).map_err(|error| error.to_string())?;
    }
    config.set_text("sampler", sampler).map_err(|error| error.to_string())?;
    config.prompts = vec![prompts.clone()];
    config.seeds = if seeds.is_empty() { SeedRule::Own } else { SeedRule::Shared };
    config.picture = PictureConfig {
        seed: seeds.first().copied().unwrap_or(0),
        guidance_scale: *guidance_scales.first().ok_or_else(|| one("guidance"))?,
        strength: *strengths.first().ok_or_else(|| one("strength"))?,
        karras,
        ..config.picture
    };
    let images_per_prompt = config.images_per_prompt;
    let several = seeds.len() > 1;
    let mut values = Values {
        seeds: if several { seeds } else { Vec::new() },
        guidance_scales,
        strengths,
        // Several seeds have one image each, unless another number of them is typed than stands there.
        images_per_prompt: Some(images_per_prompt).filter(|images| !several || *images != usual_images),
        ..Values::default()
    };
    let grid = take_more(more, concept, run, &mut config, &mut values)?;
    if grid.contains(&Axis::Seed) {
        // A sheet has each seed in one row or column.
        config.seeds = SeedRule::Shared;
    }
    let names = ListNames {
        concepts: config.shared.concepts.iter().map(|other| other.name.clone()).collect(),
        ..concept.list_names()
    };
    let list = list(prompts, &concept.folder.join("prompts"), &names)?;
    config.check_for_lines().map_err(|error| error.to_string())?;
    Ok(Sampling { config, list, values, grid })
}

fn list(prompts: &str, lists: &Path, names: &ListNames) -> Result<PromptList, String> {
    if prompts.is_empty() {
        return Err("a prompt, or the name of a prompt list".into());
    }
    let named = [lists.join(prompts), lists.join(format!("{prompts}.txt"))];
    match named.iter().find(|list| list.is_file()) {
        Some(list) => PromptList::read(list, names).map_err(|error| error.to_string()),
        None => PromptList::of_prompts(&[prompts.to_owned()], names).map_err(|error| error.to_string()),
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name}: {text:?} is no number that it can be"))
}

/// Numbers between commas, which may be ranges.
fn numbers<T: FromStr>(name: &str, text: &str) -> Result<Vec<T>, String> {
    let parts = text.split(',').map(|part| values_of(part.trim()).map_err(|wrong| format!("{name}: {wrong}")));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    parts.iter().flatten().map(|part| number(name, part)).collect()
}

/// Take over what is typed as on the command line. The settings of contact sheets' columns and rows are told.
fn take_more(
    text: &str,
    concept: &Concept,
    run: Option<&JobFolder>,
    config: &mut SampleConfig,
    values: &mut Values,
) -> Result<Vec<Axis>, String> {
    let words = shell_words::split(text).map_err(|_| "more: a quotation mark has no other".to_owned())?;
    let mut grid = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (word, None),
        };
        let Some(value) = value.or_else(|| words.next()) else { return Err(format!("more: {name} without a value")) };
        match name.as_str() {
            "--checkpoints" => {
                let run = run.ok_or("more: --checkpoints of no run: nothing is trained yet")?;
                let steps: Vec<String> = value.split(',').map(str::to_owned).collect();
                values.checkpoints = client::checkpoints(run, &steps).map_err(|error| error.to_string())?;
            }
            "--grid" => {
                grid =
                    value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|why| format!("more: {why}"))?;
            }
            "--with" => {
                let home: Home = concept.home().map_err(|error| error.to_string())?;
                config.shared.concepts.push(client::other_concept(&home, &value).map_err(|error| error.to_string())?);
            }
            _ => {
                let named = name.strip_prefix("--").map(|word| word.replace('-', "_"));
                let Some(row) = named.and_then(|word| SampleConfig::row(&word)) else {
                    let settings: Vec<String> =
                        SampleConfig::rows().map(|row| format!("--{}", row.name.replace('_', "-"))).collect();
                    return Err(format!("more: {name} is none of {MORE} {}", settings.join(" ")));
                };
                config.set_text(row.name, &value).map_err(|error| format!("more: {error}"))?;
            }
        }
    }
    Ok(grid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::NoiseKind;

    fn concept(home: &Path) -> Concept {
        let folder = home.join("mug");
        std::fs::create_dir_all(folder.join("prompts")).unwrap();
        std::fs::write(folder.join("concept.toml"), "name = \"mug\"\nclass_word = \"cup\"\nbase_model = \"x\"\n")
            .unwrap();
        std::fs::write(folder.join("prompts/two.txt"), "a {concept}\na {class} --sampler euler\n").unwrap();
        Concept::open(&folder).unwrap()
    }

    fn typed(texts: [&str; 8], concept: &Concept) -> Result<Sampling, String> {
        wanted(&texts.map(str::to_owned), concept, None)
    }

    #[test]
    fn all_that_commands_take_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let concept = concept(home.path());
        let more = "--negative 'dark, odd' --noise=torch --eta 0 --grid seed,strength --concept-steps 0.2,0.8";
        let typed = |texts| typed(texts, &concept);
        let wanted = typed(["a {concept}", "4", "1..3,9", "20", "5", "0..1..0.5", "euler karras", more]).unwrap();
        let pictures = wanted.list.pictures(&wanted.values, &wanted.config).unwrap();
        assert_eq!(pictures.len(), 4 * 3);
        let one = &pictures[1];
        assert_eq!((one.seed, one.steps, one.sampler, one.karras), (2, 20, SamplerKind::Euler, true));
        assert_eq!((one.negative_prompt.as_str(), one.noise), ("dark, odd", NoiseKind::Torch));
        assert_eq!(wanted.grid, [Axis::Seed, Axis::Strength]);
        assert_eq!(wanted.config.shared.concept_steps, Some([0.2, 0.8]));
        let listed = typed(["two", "2", "0", "20", "7.5", "1", "ddim", ""]).unwrap();
        assert_eq!(listed.list.pictures(&listed.values, &listed.config).unwrap().len(), 4);
    }

    #[test]
    fn what_a_preset_says_of_the_sampling_is_what_stands_there() {
        let home = tempfile::tempdir().unwrap();
        let concept = concept(home.path());
        let folder = concept.folder.join("runs/20261123-134501-x7k2");
        std::fs::create_dir_all(&folder).unwrap();
        let spec = "concept = \"mug\"\nclass_word = \"cup\"\nbase_model = \"/x\"\n[train]\npreset = \"official\"\n[evaluation]\n";
        std::fs::write(folder.join("run.toml"), spec).unwrap();
        let run = JobFolder::at(&folder).unwrap();
        let of_run = usual(&concept, Some(&run)).unwrap();
        assert!((of_run.picture.guidance_scale - 10.0).abs() < 1e-9 && of_run.shared.every_prompt);
        assert_eq!(usual(&concept, None).unwrap(), SampleConfig::default());
        let typed = |more: &str| {
            let texts = ["a {class}", "1", "0", "50", "3", "1", "ddim", more].map(str::to_owned);
            wanted(&texts, &concept, Some(&run)).unwrap().config
        };
        assert!(typed("").shared.every_prompt && (typed("").picture.guidance_scale - 3.0).abs() < 1e-9);
        assert!(!typed("--every-prompt false").shared.every_prompt);
        std::fs::write(folder.join("run.toml"), "steps = 3").unwrap();
        assert!(usual(&concept, Some(&run)).unwrap_err().contains("run.toml"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let home = tempfile::tempdir().unwrap();
        let concept = concept(home.path());
        for (place, text, said) in [
            (0, "", "a prompt, or the name"),
            (0, "a {cup", "{ without its }"),
            (1, "0", "images_per_prompt = 0: must be a whole number, 1 or more"),
            (2, "x", "seeds"),
            (2, "1..99999", "20000 at most"),
            (4, "", "guidance"),
            (6, "heun", "sampler = heun: must be one of ddim, pndm"),
            (7, "--noise pink", "noise = pink: must be one of catbench, torch"),
            (7, "--masks attention", "must be one of base_model, sam, segmenter, nobody"),
            (7, "--mask-quality good", "must be one of fast, best"),
            (7, "--grid colour", "one of prompt, seed"),
            (7, "--checkpoints all", "nothing is trained yet"),
            (7, "--with dog", "dog"),
            (7, "--every-prompt 3", "must be true or false"),
            (7, "--what 1", "--what"),
            (7, "--eta", "without a value"),
            (7, "--negative 'a", "quotation mark"),
        ] {
            let mut texts = ["a {concept}", "1", "0", "20", "7.5", "1", "ddim", ""];
            texts[place] = text;
            let error = typed(texts, &concept).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
