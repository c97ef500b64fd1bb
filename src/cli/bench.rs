//! `catbench bench PROTOCOL.toml`: the subjects of a protocol trained and scored, in one table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::plan::{Cell as PlanCell, CellResult, Plan};
use super::score::difference_cells;
use super::table::{Cell, Column, Format, Table, notes, score_cells, score_columns};
use super::{Error, Where, print_json};
use crate::client;
use crate::protocol::{Compared, SampleConfig, ScoreConfig, ScoreCrop, ScoreSummary, TrainConfig};
use crate::workspace::{self, Concept, ConceptFile, Home, preflight};

/// Options of a protocol.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The protocol's file.
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
    /// The plan's name; the same name goes on with it. Without: the protocol's.
    #[arg(long)]
    name: Option<String>,
    /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first that is free; cpu if not given.
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
    base_model: Option<PathBuf>,
    score_model: Option<PathBuf>,
    dino_model: Option<PathBuf>,
    #[serde(default)]
    train: TrainConfig,
    #[serde(default)]
    sample: SampleConfig,
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
        let text = std::fs::read_to_string(path).map_err(workspace::Error::io("read", path))?;
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
        protocol.train.check()?;
        protocol.sample.check()?;
        Ok(protocol)
    }
}

impl Args {
    /// The concept of a subject: made of its photos where it is not there.
    fn concept(&self, home: &Home, protocol: &Protocol, subject: &Subject) -> Result<Concept, Error> {
        let name = format!("{}-{}", protocol.name, subject.name);
        if home.path().join(&name).join("concept.toml").is_file() {
            return Ok(home.concept(&name)?);
        }
        let beside = self.protocol.parent().unwrap_or(Path::new("")).to_path_buf();
        let within = self.subjects.as_ref().unwrap_or(&beside);
        let folder = |pattern: &str| within.join(pattern.replace("{subject}", &subject.name));
        let model = |given: &Option<PathBuf>, named: &Option<PathBuf>| {
            given.clone().or_else(|| named.as_ref().map(|path| beside.join(path)))
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(workspace::Error::io("find", &path));
        let Some(base_model) = model(&self.base_model, &protocol.base_model) else {
            return Err(Error::Job("the protocol names no base model: give --base-model".into()));
        };
        let Some(score_model) = model(&self.score_model, &protocol.score_model) else {
            return Err(Error::Job("the protocol names no CLIP model: give --score-model".into()));
        };
        let file = ConceptFile {
            name: name.clone(),
            class_word: subject.class.clone(),
            // The name of a registered model stays one.
            base_model: if base_model.exists() { absolute(base_model)? } else { base_model },
            score_model: Some(absolute(score_model)?),
            dino_model: model(&self.dino_model, &protocol.dino_model).map(absolute).transpose()?,
            sam_model: None,
            guidance_scale: Some(protocol.sample.guidance_scale),
            tags: vec![protocol.name.clone()],
            notes: String::new(),
        };
        let masks = protocol.masks.as_deref().map(folder).filter(|folder| folder.is_dir());
        Ok(home.new_concept(&name, &file, &folder(&protocol.images), masks.as_deref())?)
    }

    fn cells(&self, home: &Home, protocol: &Protocol) -> Result<Vec<PlanCell>, Error> {
        let mut cells = Vec::new();
        if let Some(unknown) = self.only.iter().find(|name| !protocol.subjects.iter().any(|one| one.name == **name)) {
            return Err(Error::Job(format!("the protocol has no subject {unknown:?}")));
        }
        let chosen = |subject: &&Subject| self.only.is_empty() || self.only.contains(&subject.name);
        for subject in protocol.subjects.iter().filter(chosen) {
            let concept = self.concept(home, protocol, subject)?;
            super::take_up(home, &concept);
            preflight(&concept)?;
            let mut train = protocol.train.clone();
            let mut sample =
                SampleConfig { prompts: protocol.prompts[&subject.prompts].clone(), ..protocol.sample.clone() };
            if let Some(device) = self.device.map(Where::device) {
                (train.device, sample.device) = (device, device);
            }
            let usual = ScoreConfig::default();
            let (fill, crop) = (protocol.fill.unwrap_or(usual.fill), protocol.crop.unwrap_or(usual.crop));
            cells.push(PlanCell {
                label: subject.name.clone(),
                settings: BTreeMap::new(),
                concept: concept.id,
                baseline: true,
                run: None,
                scoring: None,
                train,
                score: ScoreConfig { sample, fill, crop, ..usual },
            });
        }
        Ok(cells)
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let protocol = Protocol::read(&args.protocol)?;
    let home = Home::locate()?;
    client::check_writable(&home)?;
    let cells = args.cells(&home, &protocol)?;
    let mut plan = Plan::open(&home, args.name.as_ref().unwrap_or(&protocol.name), cells)?;
    let numbers = plan.submit(args.priority, matches!(args.device, Some(Where::Any)))?;
    if args.detach {
        if args.format == Format::Json {
            print_json(&json!({ "jobs": numbers, "cells": plan.cells.len() }));
        }
        eprintln!("{} jobs are queued; the same command shows the table", numbers.len());
        return Ok(());
    }
    if !numbers.is_empty() && !plan.wait(&numbers)? {
        return Ok(());
    }
    print!("{}", table(&plan)?.render(args.format));
    Ok(())
}

/// A row for each subject and side, and for all of them together.
fn table(plan: &Plan) -> Result<Table, Error> {
    let results = plan.cells.iter().map(|cell| plan.result(cell)).collect::<Result<Vec<_>, _>>()?;
    let lines: Vec<&ScoreSummary> =
        results.iter().flat_map(|result| [&result.before, &result.after]).flatten().collect();
    let dino = lines.iter().any(|line| line.scores.dino.is_some());
    let pair = |result: &CellResult| Some((result.at(false)?, result.at(true)?));
    let pairs: Vec<_> = results.iter().filter_map(pair).collect();
    let mut asked: Vec<Vec<_>> = pairs.iter().map(|pair| vec![pair.clone()]).collect();
    if pairs.len() > 1 {
        asked.push(pairs);
    }
    let mut compared = client::compare(asked)?.into_iter();
    let mut table = Table {
        columns: [Column::new("subject", "subject"), Column::new("concept", "concept")]
            .into_iter()
            .chain(score_columns(dino, "", ""))
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    for (cell, result) in plan.cells.iter().zip(&results) {
        if pair(result).is_some() {
            add(&mut table, &cell.label, compared.next(), dino);
        } else {
            table.notes.push(format!("{}: {}", cell.label, result.problem.as_deref().unwrap_or("not measured")));
        }
    }
    if let Some(all) = compared.next() {
        add(&mut table, "all", Some(all), dino);
        table.notes.push("all: whole subjects are resampled".into());
    }
    table.notes.push("Δ: learned − untrained, paired by prompt and seed; an interval without 0 is a difference".into());
    Ok(table)
}

/// Untrained, learned and their difference.
fn add(table: &mut Table, name: &str, compared: Option<Result<Compared, String>>, dino: bool) {
    if let Some(Ok(both)) = &compared {
        for (side, scores) in [("untrained", &both.first), ("learned", &both.second)] {
            let mut row: Vec<Cell> = vec![name.into(), side.into()];
            row.extend(score_cells(scores, dino));
            table.rows.push(row);
        }
    }
    let mut row: Vec<Cell> = vec![name.into(), "Δ".into()];
    row.extend(difference_cells(compared, dino, name, &mut table.notes));
    table.rows.push(row);
}
