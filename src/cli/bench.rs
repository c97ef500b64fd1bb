//! `catbench bench PROTOCOL.toml`: the subjects of a protocol trained and scored, in one table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::model::named_or_path;
use super::plan::{self, How};
use super::score_compare::difference_cells;
use super::score_table::{
    OF_SETTINGS, ScoreColumns, distinct, how_cells, how_columns, interval_notes, notes, of_checkpoints,
};
use super::table::{Cell, Column, Format, Table};
use super::{Error, Where};
use crate::client::{self, words};
use crate::fs::Show;
use crate::image::left_out_words;
use crate::protocol::{
    MaskConfig, MaskMaker, MaskQuality, ModelSpec, SampleConfig, ScoreConfig, ScoreCrop, Scores, TrainStart,
};
use crate::statistics::{self, Comparison};
use crate::workspace::plan::{Cell as PlanCell, JobIds, Plan, files, weights};
use crate::workspace::{self, Concept, ConceptFile, Home, ScoreLine, left_out, preflight};

/// Options of a protocol.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The protocol: a file, or the name of one in the folder `protocols` of the home. Trainings are as its `[train]` says, whatever
    /// `[train]` of a subject's concept.toml has.
    protocol: PathBuf,
    /// The folder that the protocol's `images` and `masks` are in, if not its own.
    #[arg(long, value_name = "DIR")]
    subjects: Option<PathBuf>,
    /// The base model, if not the protocol's: a path, or the name of a registered one.
    #[arg(long, value_name = "MODEL")]
    base_model: Option<PathBuf>,
    /// The CLIP model of the scores, if not the protocol's.
    #[arg(long, value_name = "DIR")]
    score_model: Option<PathBuf>,
    /// A DINO model that judges too.
    #[arg(long, value_name = "DIR")]
    dino_model: Option<PathBuf>,
    /// Only these subjects.
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    only: Vec<String>,
    /// Trainings of each subject, with the seeds S, S + 1, ..., where S is the protocol's seed; 1 if not given. A plan that is there
    /// keeps its number.
    #[arg(long, value_name = "COUNT", value_parser = super::values::positive)]
    train_seeds: Option<usize>,
    /// The plan's name; the same name goes on with it. Without: the protocol's.
    #[arg(long)]
    name: Option<String>,
    /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first card that is free; if not given, the
    /// usual one that `catbench doctor` tells.
    #[arg(long)]
    device: Option<Where>,
    /// Priority of its jobs in the queue; higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Queue the jobs and return at once; the same command without it shows the table.
    #[arg(long)]
    detach: bool,
    /// How the table is printed: text, csv, json, markdown or latex.
    #[arg(long, default_value = "text")]
    format: Format,
}

/// A protocol's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protocol {
    /// Its plan and its concepts are called so.
    name: String,
    /// Where the photos of a subject are; `{subject}` stands for its name.
    images: String,
    /// Where its masks are, likewise.
    masks: Option<String>,
    /// How photos get masks that have none there; without, they count whole.
    photo_masks: Option<MaskMaker>,
    base_model: Option<PathBuf>,
    score_model: Option<PathBuf>,
    dino_model: Option<PathBuf>,
    /// The weights of Segment Anything, for masks by it.
    sam_model: Option<PathBuf>,
    /// A segmenter of the subjects' world, for masks by it.
    segmenter: Option<PathBuf>,
    /// What all trainings start from; `[train]` of a subject's concept has no part in it.
    #[serde(default)]
    train: TrainStart,
    /// Settings of the sampling. What it does not name is as the preset of `[train]` has it.
    #[serde(default)]
    sample: toml::Table,
    fill: Option<crate::protocol::Fill>,
    crop: Option<ScoreCrop>,
    /// Lists of prompts by name.
    prompts: BTreeMap<String, Vec<String>>,
    #[serde(rename = "subject")]
    subjects: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    /// The class word.
    class: String,
    /// The name of its list of prompts.
    prompts: String,
}

impl Protocol {
    /// Read it, and refuse what cannot be done before anything is made.
    fn read(path: &Path) -> Result<Self, Error> {
        let text = crate::fs::read_text(path, crate::fs::SETTINGS).map_err(workspace::Error::io("read", path))?;
        let protocol: Self = toml::from_str(&text).map_err(|error| workspace::Error::Toml {
            path: path.to_path_buf(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let wrong = |problem: String, remedy: &str| Err(workspace::Error::invalid(path, problem, remedy).into());
        if protocol.subjects.is_empty() {
            return wrong("no subject".into(), "write one or more [[subject]] with name, class and prompts");
        }
        for (i, subject) in protocol.subjects.iter().enumerate() {
            match protocol.prompts.get(&subject.prompts) {
                None => {
                    return wrong(
                        format!("{} has no prompts {:?}", subject.name, subject.prompts),
                        "name a list of [prompts]",
                    );
                }
                Some(list) if list.is_empty() => {
                    return wrong(format!("the prompts {:?} are none", subject.prompts), "write some");
                }
                Some(_) => {}
            }
            if protocol.subjects[..i].iter().any(|other| other.name == subject.name) {
                return wrong(format!("two subjects are called {}", subject.name), "give each a name of its own");
            }
        }
        if !protocol.images.contains("{subject}") {
            return wrong("images does not say {subject}".into(), "write where each subject's photos are");
        }
        protocol.sampling(path)?;
        Ok(protocol)
    }

    /// How all pictures are sampled, but for their prompts. `path` is the protocol's, for errors.
    fn sampling(&self, path: &Path) -> Result<SampleConfig, Error> {
        let mut sample = SampleConfig::here().as_preset(self.train.config().preset()?);
        for (name, value) in &self.sample {
            sample.set(name, &crate::json::to_value(value).unwrap_or_default()).map_err(|error| {
                let problem = format!("[sample] {name} = {value}: {}", error.cause);
                workspace::Error::invalid(path, problem, "write what a sampling can have, or leave it out")
            })?;
        }
        if !self.sample.contains_key("dtype") {
            sample.shared.dtype = sample.shared.device.usual_dtype();
        }
        sample.check()?;
        Ok(sample)
    }
}

impl Args {
    /// The concept of a subject: made of its photos where it is not there. One that is there must be what would be made.
    fn concept(&self, home: &Home, protocol: &Protocol, subject: &Subject) -> Result<Concept, Error> {
        let name = format!("{}-{}", protocol.name, subject.name);
        let there = home.path().join(&name).join("concept.toml").is_file();
        let beside = self.protocol.parent().unwrap_or(Path::new("")).to_path_buf();
        let within = self.subjects.as_ref().unwrap_or(&beside);
        let folder = |pattern: &str| within.join(pattern.replace("{subject}", &subject.name));
        let model = |given: &Option<PathBuf>, named: &Option<PathBuf>| {
            given.clone().or_else(|| named.as_ref().map(|path| beside.join(path)))
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(workspace::Error::io("find", &path));
        let base_model = match (&self.base_model, &protocol.base_model) {
            (Some(given), _) => Some(named_or_path(home, given)?),
            // A path in the protocol is one from where it is.
            (None, Some(named)) if home.named_model(named)?.is_none() => {
                Some(named_or_path(home, &beside.join(named))?)
            }
            (None, named) => named.clone(),
        };
        let score_model = model(&self.score_model, &protocol.score_model);
        let masks = protocol.masks.as_deref().map(folder).filter(|folder| folder.is_dir());
        if there {
            let dino_model = model(&self.dino_model, &protocol.dino_model);
            let wanted = Wanted { base_model, score_model, dino_model, photos: folder(&protocol.images), masks };
            let concept = home.concept(&name)?;
            wanted.check(home, &concept, subject)?;
            return Ok(concept);
        }
        let Some(base_model) = base_model else {
            return Err(Error::Job("the protocol names no base model: give --base-model".into()));
        };
        let Some(score_model) = score_model else {
            return Err(Error::Job("the protocol names no CLIP model: give --score-model".into()));
        };
        let file = ConceptFile {
            name: name.clone(),
            class_word: subject.class.clone(),
            base_model,
            score_model: Some(absolute(score_model)?),
            dino_model: model(&self.dino_model, &protocol.dino_model).map(absolute).transpose()?,
            sam_model: model(&None, &protocol.sam_model).map(absolute).transpose()?,
            segmenter: model(&None, &protocol.segmenter).map(absolute).transpose()?,
            guidance_scale: Some(protocol.sampling(&self.protocol)?.picture.guidance_scale),
            tags: vec![protocol.name.clone()],
            notes: String::new(),
            train: TrainStart::default(),
        };
        let images = folder(&protocol.images);
        for line in left_out_words(&left_out(&images, masks.as_deref())?) {
            errln!("warning: {name}: {}", words::plain(&line));
        }
        Ok(home.new_concept(&name, &file, &images, masks.as_deref())?)
    }

    fn cells(&self, home: &Home, protocol: &Protocol) -> Result<Vec<PlanCell>, Error> {
        let (mut cells, sampled) = (Vec::new(), protocol.sampling(&self.protocol)?);
        // One that cannot be read is refused when it is opened.
        let known = Plan::read(home, self.name.as_ref().unwrap_or(&protocol.name)).ok().flatten();
        let known = |label: &str| known.as_ref()?.trainings(label);
        if let Some(unknown) = self.only.iter().find(|name| !protocol.subjects.iter().any(|one| one.name == **name)) {
            return Err(Error::Job(format!("the protocol has no subject {unknown:?}")));
        }
        let chosen = |subject: &&Subject| self.only.is_empty() || self.only.contains(&subject.name);
        for subject in protocol.subjects.iter().filter(chosen) {
            let concept = self.concept(home, protocol, subject)?;
            super::take_up(home, &concept);
            preflight(&concept)?;
            let mut train = protocol.train.config().clone();
            let mut sample = SampleConfig { prompts: protocol.prompts[&subject.prompts].clone(), ..sampled.clone() };
            if let Some(device) = self.device.map(Where::device) {
                (train.device, sample.shared.device) = (device, device);
                if !protocol.train.said().contains_key("dtype") {
                    train.dtype = device.usual_dtype();
                }
                if !protocol.sample.contains_key("dtype") {
                    sample.shared.dtype = device.usual_dtype();
                }
            }
            let photo_masks = protocol.photo_masks.filter(|maker| *maker != MaskMaker::Nobody).map(|maker| {
                MaskConfig { device: train.device, dtype: train.dtype, ..MaskConfig::of(maker, MaskQuality::Best) }
            });
            let usual = ScoreConfig::default().as_preset(train.preset()?);
            let (fill, crop) = (protocol.fill.unwrap_or(usual.fill), protocol.crop.unwrap_or(usual.crop));
            let cell = PlanCell {
                label: subject.name.clone(),
                training: 0,
                settings: BTreeMap::new(),
                material: client::plan::material(home, &concept, photo_masks.is_none())?,
                concept: concept.id,
                photo_masks,
                jobs: JobIds::default(),
                train,
                score: ScoreConfig { fill, crop, sample, ..usual },
            };
            let trainings = self.train_seeds.or_else(|| known(&subject.name)).unwrap_or(1);
            cells.extend(cell.trainings(trainings));
        }
        Ok(cells)
    }
}

/// What a concept of the protocol would be made of.
struct Wanted {
    base_model: Option<PathBuf>,
    score_model: Option<PathBuf>,
    dino_model: Option<PathBuf>,
    photos: PathBuf,
    masks: Option<PathBuf>,
}

impl Wanted {
    /// Refuse a concept that was made of something else: its numbers would pass for the numbers of what was asked for. A model
    /// that is not named is whichever the concept has.
    fn check(&self, home: &Home, concept: &Concept, subject: &Subject) -> Result<(), Error> {
        let differs = |what: &str, has: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
            let id = &concept.id;
            Err(Error::Job(format!(
                "the concept {id} is there with another {what}: it has {has}, this protocol with these options wants {wanted}; \
                 give what it has, or `catbench concept remove {id}` to have it made anew, or another name to the protocol"
            )))
        };
        if concept.file.class_word != subject.class {
            return differs("class word", &concept.file.class_word, &subject.class);
        }
        if let Some(wanted) = &self.base_model {
            let spec = home.named_model(wanted)?.unwrap_or_else(|| ModelSpec::at(wanted));
            let has = concept.base_model()?;
            if has != spec && client::model_hash(&has, home)? != client::model_hash(&spec, home)? {
                return differs("base model", &has.path.shown(), &wanted.shown());
            }
        }
        for (what, wanted, has) in [
            ("CLIP model", &self.score_model, concept.score_model()),
            ("DINO model", &self.dino_model, concept.dino_model()),
        ] {
            let Some(wanted) = wanted else { continue };
            match has {
                None => return differs(what, &"none", &wanted.shown()),
                Some(has) if weights(home, &has)? != weights(home, wanted)? => {
                    return differs(what, &has.shown(), &wanted.shown());
                }
                Some(_) => {}
            }
        }
        let photos = crate::image::list_photos(&self.photos)?;
        let has = concept.photos()?;
        if files(&photos)? != files(&has)? {
            let count = |photos: &[PathBuf]| {
                if let [_] = photos { "1 photo".into() } else { format!("{} photos", photos.len()) }
            };
            let (has, wanted) = (format!("{} in {}", count(&has), concept.images().shown()), count(&photos));
            return differs("set of photos", &has, &format!("the {wanted} in {}", self.photos.shown()));
        }
        for photo in self.masks.iter().flat_map(|_| &photos) {
            let wanted = self.masks.as_ref().map(|masks| crate::image::mask_path(masks, photo));
            let Some(wanted) = wanted.filter(|mask| mask.is_file()) else { continue };
            let has = concept.mask_path(photo);
            if !has.is_file() || crate::image::read_any_mask(&has)? != crate::image::read_any_mask(&wanted)? {
                return differs("mask", &has.shown(), &wanted.shown());
            }
        }
        Ok(())
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let home = Home::locate()?;
    let args = Args { protocol: home.protocol(&args.protocol), ..args.clone() };
    if !args.protocol.exists() {
        let problem = format!("is no protocol, neither as a file nor in {}", home.protocols().shown());
        return Err(
            workspace::Error::invalid(&args.protocol, problem, "give a file; catbench manual plans says how").into()
        );
    }
    let protocol = Protocol::read(&args.protocol)?;
    client::check_writable(&home)?;
    let cells = args.cells(&home, &protocol)?;
    let mut plan = Plan::open(&home, args.name.as_ref().unwrap_or(&protocol.name), cells)?;
    let any_device = matches!(args.device, Some(Where::Any));
    let how = How { priority: args.priority, any_device, detach: args.detach, format: args.format };
    plan::run(&mut plan, &how, table)
}

/// A row for each subject and side, and for all of them together.
fn table(plan: &Plan) -> Result<Table, Error> {
    let rows = plan.rows()?;
    let results = || rows.iter().flat_map(|row| &row.results);
    let lines = distinct(results().flat_map(|result| [&result.before, &result.after]).flatten());
    let shown = ScoreColumns::of(&lines);
    let mut table = Table {
        columns: [Column::new("subject", "subject"), Column::new("concept", "concept")]
            .into_iter()
            .chain(shown.columns("", ""))
            .chain(how_columns())
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    let several = rows.iter().any(|row| row.results.len() > 1);
    let (mut all, mut of_rows): (Vec<_>, Vec<(String, Scores)>) = (Vec::new(), Vec::new());
    for row in &rows {
        table.notes.extend(row.problems());
        let (Some(pairs), Some(line)) = (row.pairs(), row.before()) else { continue };
        all.push(pairs.clone());
        let compared = statistics::pool(&[pairs]).map_err(|error| error.to_string());
        if let Some(photos) = line.record.photo_scores.as_deref() {
            let mut cells: Vec<Cell> = vec![row.cell.label.as_str().into(), "photos".into()];
            cells.extend(shown.cells(photos));
            cells.extend(how_cells(Some(photos), Some(line)));
            table.rows.push(cells);
        }
        let scores = compared.as_ref().ok().map(|compared| compared.difference.scores.clone());
        of_rows.extend(scores.map(|scores| (row.cell.label.clone(), scores)));
        add(&mut table, &row.cell.label, compared, shown, line);
    }
    if let (true, Some(line)) = (all.len() > 1, lines.first()) {
        let together = statistics::pool(&all).map_err(|error| error.to_string());
        of_rows.extend(together.as_ref().ok().map(|together| ("all".to_owned(), together.difference.scores.clone())));
        add(&mut table, "all", together, shown, line);
    }
    let said = of_rows.iter().map(|(name, scores)| (name.as_str(), scores));
    table.notes.splice(0..0, interval_notes(said));
    table.notes.push("Δ: learned − untrained, paired by prompt and seed; an interval without 0 is a difference".into());
    table.notes.push(if several { OF_SETTINGS.into() } else { of_checkpoints(rows.len()) });
    Ok(table)
}

/// Untrained, learned and their difference, measured as `how` says.
fn add(table: &mut Table, name: &str, compared: Result<Comparison, String>, shown: ScoreColumns, how: &ScoreLine) {
    if let Ok(both) = &compared {
        for (side, scores) in [("untrained", &both.first), ("learned", &both.second)] {
            let mut row: Vec<Cell> = vec![name.into(), side.into()];
            row.extend(shown.cells(scores));
            row.extend(how_cells(Some(scores), Some(how)));
            table.rows.push(row);
        }
    }
    let difference = compared.as_ref().ok().map(|both| both.difference.scores.clone());
    let mut row: Vec<Cell> = vec![name.into(), "Δ".into()];
    row.extend(difference_cells(Some(compared), shown, name, &mut table.notes));
    row.extend(how_cells(difference.as_ref(), Some(how)));
    table.rows.push(row);
}
