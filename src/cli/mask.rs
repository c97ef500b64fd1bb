//! `catbench mask import | make | check`: masks of a concept's photos and samples.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::preflight::Summary;
use super::{Error, PlacementArgs, Where, follow, mask_bench, print_json};
use crate::client::{self, Asked};
use crate::fs::Show;
use crate::image::mask_confidence;
use crate::protocol::{FloatType, MaskConfig, MaskMaker, MaskPoint, MaskQuality, SegmentRequest, UsualDevice, doubt};
use crate::workspace::{self, Concept, History, MaskProblem};

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take masks from a folder of PNGs with the names of the photos, or from the transparency of the photos.
    Import(ImportArgs),
    /// Make masks where the base model sees the class word, which needs no other model; or by Segment Anything, or with --sam at
    /// points.
    Make(Box<MakeArgs>),
    /// Compare ways of making masks on pictures whose true masks are known: overlap, borders, which masks are called doubtful.
    Bench(mask_bench::Args),
    /// Look at every mask of photos and of all samples, also of runs and scorings: which are missing, and which are empty,
    /// full, of another size, coloured or doubtful. Ends with 1 if one cannot be used.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The concept.
    concept: String,
    /// The folder of masks: `NAME.png` for each photo `NAME.jpg`, white where the concept is.
    #[arg(value_name = "DIR", required_unless_present = "alpha")]
    folder: Option<PathBuf>,
    /// Where a photo is opaque is the concept.
    #[arg(long, conflicts_with = "folder")]
    alpha: bool,
    /// Also of photos that have a mask.
    #[arg(long)]
    replace: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct MakeArgs {
    /// The concept.
    concept: String,
    /// Pictures to make masks for, photos or samples; without, the photos that have none. Samples get the same masks while they are
    /// made.
    #[arg(value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// For the samples of a sampling that have no mask: its id, the start of it, or `latest`.
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["pictures", "sam"])]
    batch: Option<String>,
    /// Also for those that have a mask.
    #[arg(long)]
    replace: bool,
    /// Who makes them: base_model, sam (asked where base_model sees the class word) or segmenter; base_model if not given.
    #[arg(long, value_name = "MAKER", conflicts_with = "sam")]
    masks: Option<MaskMaker>,
    /// How closely the base model looks: fast or best; best if not given.
    #[arg(long, conflicts_with = "sam")]
    mask_quality: Option<MaskQuality>,
    /// By Segment Anything at the points given, with the weights that concept.toml names as `sam_model`.
    #[arg(long, requires_all = ["points", "pictures"], conflicts_with_all = [
        "replace", "caption", "timesteps", "draws", "seed", "device", "dtype", "priority", "after", "dry_run",
    ])]
    sam: bool,
    /// A point on the concept, in pixels of the picture from its upper left corner; may be given several times.
    #[arg(long = "point", value_name = "X,Y", value_parser = place, requires = "sam")]
    points: Vec<(u32, u32)>,
    /// A point on what is not to be in the mask; likewise.
    #[arg(long = "not-point", value_name = "X,Y", value_parser = place, requires = "sam")]
    not_points: Vec<(u32, u32)>,
    /// What the denoiser reads; {class} stands for the class word.
    #[arg(long)]
    caption: Option<String>,
    /// The timesteps that a photo is noised to, as in 100,300,500.
    #[arg(long, value_delimiter = ',')]
    timesteps: Option<Vec<usize>>,
    /// Draws of noise at each.
    #[arg(long, value_parser = super::values::positive)]
    draws: Option<usize>,
    /// Where the map, 0 to 1, is cut; without, where its two classes are best apart, and with --sam at 0.5.
    #[arg(long)]
    threshold: Option<f64>,
    /// Parts and holes smaller than this share of the largest part are cleaned away.
    #[arg(long)]
    smallest_part: Option<f64>,
    /// Seed of the noise.
    #[arg(long)]
    seed: Option<u64>,
    /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first card that is free; if not given, the
    /// usual one that `catbench doctor` tells.
    #[arg(long)]
    device: Option<Where>,
    /// Type of the weights and of activations: f32, bf16 or f16; if not given, bf16 on a card that has it, else f32.
    #[arg(long)]
    dtype: Option<FloatType>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The concept.
    concept: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    match &args.what {
        What::Import(args) => import(args),
        What::Make(args) => make(args),
        What::Bench(args) => mask_bench::run(args),
        What::Check(args) => check(args),
    }
}

fn import(args: &ImportArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    client::check_writable(&concept.home()?)?;
    let report = match &args.folder {
        Some(folder) => concept.import_masks(folder, args.replace)?,
        None => concept.masks_from_alpha(args.replace)?,
    };
    super::take_up(&concept.home()?, &concept);
    if args.json {
        let refused: Vec<_> = report.refused.iter().map(|(file, why)| json!({ "file": file, "why": why })).collect();
        print_json(&json!({
            "imported": report.imported, "kept": report.kept, "without_photo": report.without_photo,
            "without_mask": report.without_mask, "refused": refused,
        }));
    } else {
        let list = |what: &str, names: &[String]| {
            if !names.is_empty() {
                outln!("{what:<24} {:>3}  {}", names.len(), names.join(", "));
            }
        };
        list("imported", &report.imported);
        list("kept (--replace)", &report.kept);
        list("masks without a photo", &report.without_photo);
        list("photos without a mask", &report.without_mask);
        report.refused.iter().for_each(|(file, why)| outln!("refused                       {file}: {why}"));
    }
    if report.imported.is_empty() && report.kept.is_empty() {
        return Err(Error::Job("no mask was imported".into()));
    }
    Ok(())
}

/// `X,Y`.
fn place(text: &str) -> Result<(u32, u32), String> {
    let (x, y) = text.split_once(',').ok_or("two numbers with a comma between them, as in 120,80")?;
    let number = |text: &str| text.trim().parse().map_err(|_| format!("{text:?} is no whole number from 0"));
    Ok((number(x)?, number(y)?))
}

/// Masks at points.
fn segment(args: &MakeArgs, concept: &Concept) -> Result<(), Error> {
    let model = concept.sam_model()?;
    let on = args.points.iter().map(|&(x, y)| MaskPoint { x, y, concept: true });
    let off = args.not_points.iter().map(|&(x, y)| MaskPoint { x, y, concept: false });
    let points: Vec<MaskPoint> = on.chain(off).collect();
    client::check_writable(&concept.home()?)?;
    let mut segmenter = client::Segmenter::start()?;
    let mut made = Vec::new();
    for picture in pictures(concept, args)? {
        let mut request = SegmentRequest::new(model.clone(), picture.clone(), points.clone());
        request.threshold = args.threshold.unwrap_or(request.threshold);
        request.smallest_part = args.smallest_part.unwrap_or(request.smallest_part);
        let name = picture.shown();
        let segmented = segmenter.segment(&request).map_err(|error| Error::Job(format!("{name}: {error}")))?;
        if segmented.mask.iter().all(|&value| value == 0) {
            return Err(Error::Job(format!("{name}: nothing is marked at these points: no mask was made")));
        }
        let how: Vec<(&str, &str)> = segmented.how.iter().map(|(key, value)| (&**key, &**value)).collect();
        let mask = concept.write_mask(&picture, &segmented.mask, &how)?;
        if !args.json {
            outln!("{}", mask.shown());
        }
        made.push(json!({ "picture": picture, "mask": mask }));
    }
    super::take_up(&concept.home()?, concept);
    if args.json {
        print_json(&json!({ "masks": made }));
    }
    Ok(())
}

fn make(args: &MakeArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    if args.sam {
        return segment(args, &concept);
    }
    let maker = args.masks.unwrap_or_default();
    if maker == MaskMaker::Nobody {
        return Err(Error::Job("--masks nobody makes none: name base_model, sam or segmenter".into()));
    }
    let usual = MaskConfig::of(maker, args.mask_quality.unwrap_or(MaskQuality::Best));
    let device = args.device.map_or_else(|| UsualDevice::get().device, Where::device);
    let config = MaskConfig {
        maker,
        caption: args.caption.clone().unwrap_or(usual.caption),
        timesteps: args.timesteps.clone().unwrap_or(usual.timesteps),
        draws: args.draws.unwrap_or(usual.draws),
        threshold: args.threshold,
        smallest_part: args.smallest_part.unwrap_or(usual.smallest_part),
        seed: args.seed.unwrap_or(usual.seed),
        device,
        dtype: args.dtype.unwrap_or_else(|| device.usual_dtype()),
    };
    let pictures = pictures(&concept, args)?;
    if pictures.is_empty() {
        let of = if args.batch.is_some() { "sample of the sampling" } else { "photo" };
        return Err(Error::Job(format!("every {of} has a mask: --replace makes them anew")));
    }
    let (count, looks) = (pictures.len(), config.looks());
    let ready = Asked::masks(&concept, pictures, config)?.estimate()?;
    let told = Summary::work("masks", format!("{count} pictures, {looks} looks at each"));
    if args.dry_run {
        return super::preflight::dry_run(&concept, &told, &ready, args.json);
    }
    if !args.json {
        super::preflight::say(&concept, &told, &ready);
    }
    let (job, queued) = ready.begin(args.placement.placement(args.device))?;
    if !follow::quietly(&concept, &job, Some(&queued))? {
        return Ok(());
    }
    super::take_up(&concept.home()?, &concept);
    let masks = History::read(&job)?.masks;
    if args.json {
        let row = |(picture, mask): &(PathBuf, PathBuf)| json!({ "picture": picture, "mask": mask, "confidence": mask_confidence(mask) });
        print_json(&json!({ "masks": masks.iter().map(row).collect::<Vec<_>>(), "path": job.path() }));
    } else {
        for (_, mask) in &masks {
            let doubt = doubt(mask_confidence(mask))
                .map_or(String::new(), |confidence| format!("  {}: look at it", client::words::doubtful(confidence)));
            outln!("{}{doubt}", mask.shown());
        }
    }
    Ok(())
}

fn pictures(concept: &Concept, args: &MakeArgs) -> Result<Vec<PathBuf>, Error> {
    let absolute = |path: &PathBuf| {
        let path = std::path::absolute(path).map_err(workspace::Error::io("find", path))?;
        std::fs::metadata(&path).map_err(workspace::Error::io("read", &path))?;
        Ok(path)
    };
    let given = args.pictures.iter().map(absolute).collect::<Result<Vec<_>, Error>>()?;
    if !given.is_empty() {
        return Ok(given);
    }
    let lacks = |picture: &Path| !concept.mask_of(picture).is_file();
    let all = match &args.batch {
        Some(id) => super::score::pictures_of(&concept.batch(id)?)?,
        None => concept.photos()?,
    };
    Ok(all.into_iter().filter(|picture| args.replace || lacks(picture)).collect())
}

fn check(args: &CheckArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let problems = concept.check_masks()?;
    if args.json {
        let rows: Vec<_> = problems
            .iter()
            .map(|MaskProblem { picture, problem, usable, confidence }| {
                json!({ "picture": picture, "problem": problem, "usable": usable, "confidence": confidence })
            })
            .collect();
        print_json(&json!({ "problems": rows }));
    } else if problems.is_empty() {
        outln!("every picture has a mask that fits");
    } else {
        problems.iter().for_each(|one| outln!("{}: {}", one.picture.shown(), one.problem));
    }
    let unusable = problems.iter().filter(|problem| !problem.usable).count();
    if unusable > 0 {
        return Err(Error::Job(format!("{unusable} masks cannot be used")));
    }
    Ok(())
}
