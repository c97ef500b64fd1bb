//! `catbench mask bench`: ways of making masks on pictures whose true masks are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::preflight::Summary;
use super::table::{Cell, Column, Format, Table};
use super::{Error, PlacementArgs, Where, follow};
use crate::client::Asked;
use crate::fs::Show;
use crate::image::{list_photos, mask_path, mask_says};
use crate::protocol::{FloatType, MaskConfig, MaskMaker, MaskQuality, UsualDevice, is_doubtful};
use crate::workspace::{self, BenchLine, Concept, JobFolder, MaskBench, MaskWay, TruePicture};

/// Options of a comparison.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept whose base model, segmenter and Segment Anything make the masks.
    concept: String,
    /// Pictures in `images` of this folder and their true masks in `masks`; or folders named by class word with these two.
    /// Without: the concept's photos whose masks were drawn, brought in or are exact.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Only this maker: base_model, sam or segmenter; may be given several times. Without: all whose models there are.
    #[arg(long = "masks", value_name = "MAKER")]
    makers: Vec<MaskMaker>,
    /// Only this quality of base_model's and sam's masks: fast or best.
    #[arg(long)]
    mask_quality: Option<MaskQuality>,
    /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first card that is free; if not given, the
    /// usual one that `catbench doctor` tells.
    #[arg(long)]
    device: Option<Where>,
    /// Type of the weights and of activations: f32, bf16 or f16; if not given, bf16 on a card that has it, else f32.
    #[arg(long)]
    dtype: Option<FloatType>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// How the table is printed: text, csv, json, markdown or latex.
    #[arg(long, default_value = "text")]
    format: Format,
}

/// Compare them.
pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let pictures = match &args.folder {
        Some(folder) => in_folder(folder, &concept)?,
        None => of_photos(&concept)?,
    };
    let ways = args.ways(&concept)?;
    let device = args.device.map_or_else(|| UsualDevice::get().device, Where::device);
    let dtype = args.dtype.unwrap_or_else(|| device.usual_dtype());
    let mask = MaskConfig { device, dtype, ..MaskConfig::default() };
    let (told, bench) = (format!("{} ways of {} pictures", ways.len(), pictures.len()), MaskBench { ways, pictures });
    let ready = Asked::mask_bench(&concept, bench.clone(), mask)?.estimate()?;
    if args.format == Format::Text {
        super::preflight::say(&concept, &Summary::work("masks", told), &ready);
    }
    let (job, queued) = ready.begin(args.placement.placement(args.device))?;
    if !follow::quietly(&concept, &job, Some(&queued))? {
        return Ok(());
    }
    let lines = read_lines(&job)?;
    out!("{}", table(&bench.ways, &lines, &job).render(args.format));
    Ok(())
}

impl Args {
    /// Those that are asked for, or all that there are models of.
    fn ways(&self, concept: &Concept) -> Result<Vec<MaskWay>, Error> {
        let makers = if self.makers.is_empty() {
            let has = |maker: &MaskMaker| *maker != MaskMaker::Nobody && concept.check_masks_by(*maker).is_ok();
            MaskMaker::ALL.into_iter().filter(has).collect()
        } else {
            self.makers.clone()
        };
        let mut ways = Vec::new();
        for maker in makers {
            concept.check_masks_by(maker)?;
            let qualities =
                MaskQuality::ALL.into_iter().filter(|quality| self.mask_quality.is_none_or(|q| q == *quality));
            ways.extend(qualities.map(|quality| MaskWay { maker, quality }).take(if maker.looks() { 2 } else { 1 }));
        }
        ways.retain(|way| way.maker != MaskMaker::Nobody);
        Ok(ways)
    }
}

/// The photos of `concept` whose masks are no maker's.
fn of_photos(concept: &Concept) -> Result<Vec<TruePicture>, Error> {
    let made = [MaskMaker::WORDS, &["attention", "segment_anything"]].concat();
    let is_true = |mask: &Path| {
        let by = mask_says(mask).made_by;
        mask.is_file() && by.is_none_or(|by| !made.contains(&by.split(" (").next().unwrap_or("")))
    };
    let class_word = &concept.file.class_word;
    let true_picture =
        |picture: PathBuf| TruePicture { mask: concept.mask_path(&picture), picture, class_word: class_word.clone() };
    let mut pictures: Vec<TruePicture> = concept.photos()?.into_iter().map(true_picture).collect();
    pictures.retain(|picture| is_true(&picture.mask));
    if pictures.is_empty() {
        let problem = "no photo of it has a mask that was drawn or brought in: name a folder with images and masks";
        return Err(Error::Job(format!("{}: {problem}", concept.id)));
    }
    Ok(pictures)
}

/// The pictures with masks of a folder, or of its folders by class word.
fn in_folder(folder: &Path, concept: &Concept) -> Result<Vec<TruePicture>, Error> {
    let folder = std::path::absolute(folder).map_err(workspace::Error::io("find", folder))?;
    let mut places = vec![(folder.clone(), concept.file.class_word.clone())];
    if !folder.join("images").is_dir() {
        places.clear();
        for entry in std::fs::read_dir(&folder).map_err(workspace::Error::io("read", &folder))? {
            let path = entry.map_err(workspace::Error::io("read", &folder))?.path();
            if path.join("images").is_dir() {
                let class_word = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                places.push((path, class_word));
            }
        }
        places.sort();
    }
    let mut pictures = Vec::new();
    for (place, class_word) in places {
        for picture in list_photos(&place.join("images"))? {
            let mask = mask_path(&place.join("masks"), &picture);
            if mask.is_file() {
                pictures.push(TruePicture { picture, mask, class_word: class_word.clone() });
            }
        }
    }
    if pictures.is_empty() {
        let remedy = "put pictures into images/ and their true masks into masks/, or both into a folder a class word";
        return Err(workspace::Error::invalid(&folder, "no picture with a mask is in it", remedy).into());
    }
    Ok(pictures)
}

fn read_lines(job: &JobFolder) -> Result<Vec<BenchLine>, Error> {
    let path = job.bench_lines();
    let text = crate::fs::read_text(&path, crate::fs::LINES).map_err(workspace::Error::io("read", &path))?;
    let parse = |line: &str| {
        let problem =
            |error: serde_json::Error| workspace::Error::invalid(&path, error.to_string(), "run the bench again");
        Ok(serde_json::from_str(line).map_err(problem)?)
    };
    text.lines().map(parse).collect()
}

/// A row a way.
fn table(ways: &[MaskWay], lines: &[BenchLine], job: &JobFolder) -> Table {
    let mut by_way: BTreeMap<usize, Vec<&BenchLine>> = BTreeMap::new();
    lines.iter().for_each(|line| by_way.entry(line.way).or_default().push(line));
    let columns = [
        ("masks", "masks"),
        ("quality", "quality"),
        ("pictures", "pictures"),
        ("iou", "IoU"),
        ("iou_p10", "10th percentile"),
        ("iou_min", "least"),
        ("below_0_6", "below 0.6"),
        ("doubtful_below_0_6", "doubtful of these"),
        ("doubtful_others", "of the others"),
        ("boundary_f", "boundary F"),
        ("seconds", "s a picture"),
    ];
    let rows = by_way.into_iter().map(|(way, lines)| {
        let mut ious: Vec<f64> = lines.iter().map(|line| line.iou).collect();
        ious.sort_by(f64::total_cmp);
        let mean = |of: fn(&BenchLine) -> f64| lines.iter().map(|line| of(line)).sum::<f64>() / lines.len() as f64;
        let doubtful = |line: &&&BenchLine| is_doubtful(line.confidence);
        let (wrong, right): (Vec<&BenchLine>, Vec<&BenchLine>) = lines.iter().partition(|line| line.iou < 0.6);
        let MaskWay { maker, quality } = ways[way];
        vec![
            maker.word().into(),
            if maker.looks() { quality.word().into() } else { Cell::Nothing(String::new()) },
            Cell::Count(lines.len()),
            Cell::Number(mean(|line| line.iou)),
            Cell::Number(ious[lines.len() / 10]),
            Cell::Number(ious[0]),
            Cell::Count(wrong.len()),
            Cell::Count(wrong.iter().filter(doubtful).count()),
            Cell::Count(right.iter().filter(doubtful).count()),
            Cell::Number(mean(|line| line.boundary_f)),
            Cell::Number(mean(|line| line.seconds)),
        ]
    });
    Table {
        columns: columns.map(|(key, title)| Column::new(key, title)).into(),
        rows: rows.collect(),
        notes: vec![format!("the masks and a line for each are in {}", job.path().shown())],
    }
}
