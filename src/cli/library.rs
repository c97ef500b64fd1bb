//! `catbench concept new | list | show | tag | rename | remove | restore | export | import`: the library.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::{Error, print_json};
use crate::client;
use crate::client::words::{self, plain, settings, shell};
use crate::fs::Show;
use crate::image::{self, Colours, LeftOut, left_out_words};
use crate::json;
use crate::protocol::{FileRecord, PhotoReading, TrainStart, doubt};
use crate::workspace::{Concept, ConceptFile, Home, Links, left_out, photo_name, read_details};

/// Options of `concept new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Its name: the folder it gets.
    name: String,
    /// The word it is learned on top of: teapot, dog, backpack.
    #[arg(long, value_name = "WORD")]
    class: String,
    /// The folder of its photos; they are copied.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The folder of its masks: `NAME.png` for each `NAME.jpg`, white where the concept is; they are copied.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// The base model: a path, or the name of a registered one. Without: the only registered one.
    #[arg(long, value_name = "MODEL")]
    base_model: Option<PathBuf>,
    /// The CLIP model of its scores.
    #[arg(long, value_name = "DIR")]
    score_model: Option<PathBuf>,
    /// A DINO model that judges beside it, as facebook/dino-vits16.
    #[arg(long, value_name = "DIR")]
    dino_model: Option<PathBuf>,
    /// The weights of MobileSAM or Segment Anything, which make masks from points.
    #[arg(long, value_name = "FILE")]
    sam_model: Option<PathBuf>,
    /// A word to find it by; may be given several times.
    #[arg(long = "tag", value_parser = tag_word)]
    tags: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `concept list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only those whose name, class word or notes contain this.
    #[arg(long, value_name = "TEXT")]
    matching: Option<String>,
    /// What is in the trash.
    #[arg(long, conflicts_with_all = ["tag", "matching"])]
    trash: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A concept.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// The concept.
    concept: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `concept tag`.
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    #[command(flatten)]
    concept: NameArgs,
    /// Tags to add.
    #[arg(value_parser = tag_word)]
    tags: Vec<String>,
    /// A tag to take away; may be given several times.
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
    /// Set its notes.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

/// Options of `concept rename`.
#[derive(Debug, clap::Args)]
pub struct RenameArgs {
    #[command(flatten)]
    concept: NameArgs,
    /// Its new name.
    to: String,
}

/// Options of `concept restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    concept: NameArgs,
    /// Another name, where its own is taken by now.
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
}

/// A sample of a concept.
#[derive(Debug, clap::Args)]
pub struct SampleArgs {
    /// The concept.
    concept: String,
    /// The picture: its path, from here or from the concept's folder.
    picture: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `concept rate`.
#[derive(Debug, clap::Args)]
pub struct RateArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// 1 (bad) to 5, or `none` to take its rating away.
    #[arg(value_parser = rating)]
    rating: Rating,
}

/// A rating, or none.
#[derive(Debug, Clone, Copy)]
struct Rating(Option<u8>);

fn rating(text: &str) -> Result<Rating, String> {
    match text.parse() {
        _ if text == "none" => Ok(Rating(None)),
        Ok(number @ 1..=5) => Ok(Rating(Some(number))),
        _ => Err("give a number from 1 (bad) to 5, or none".into()),
    }
}

/// Options of `concept export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    concept: NameArgs,
    /// The file to write: a zip archive.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    links: LinkArgs,
}

/// What becomes of links.
#[derive(Debug, clap::Args)]
struct LinkArgs {
    /// Take what links lead to, also outside of the concept's folder, as photos in a data set. Without: such a link is refused
    /// by name, for it may lead to anything of yours.
    #[arg(long)]
    follow_links: bool,
}

impl LinkArgs {
    fn links(&self) -> Links {
        if self.follow_links { Links::Follow } else { Links::Inside }
    }
}

/// Options of `concept import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// What `export` wrote, or a concept's folder.
    from: PathBuf,
    /// Its name here, if not its own.
    #[arg(long)]
    name: Option<String>,
    /// Take an archive without a manifest, whose files cannot be checked.
    #[arg(long)]
    unlisted: bool,
    #[command(flatten)]
    links: LinkArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn new(args: &NewArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    let base_model = match &args.base_model {
        Some(path) => super::model::named_or_path(&home, path)?,
        None => only_model(&home)?,
    };
    let file = ConceptFile {
        name: args.name.clone(),
        class_word: args.class.clone(),
        base_model,
        score_model: args.score_model.as_ref().map(std::path::absolute).transpose()?,
        dino_model: args.dino_model.as_ref().map(std::path::absolute).transpose()?,
        sam_model: args.sam_model.as_ref().map(std::path::absolute).transpose()?,
        segmenter: None,
        guidance_scale: None,
        tags: args.tags.clone(),
        notes: String::new(),
        train: TrainStart::default(),
    };
    client::check_writable(&home)?;
    let concept = home.new_concept(&args.name, &file, &args.images, args.masks.as_deref())?;
    let others = left_out(&args.images, args.masks.as_deref())?;
    for warning in colour_words(&concept)? {
        errln!("warning: {}", plain(&warning));
    }
    if let Some(masks) = &args.masks {
        // They are in it already: what is left is what did not fit.
        let report = concept.import_masks(masks, false)?;
        for (names, what) in
            [(report.without_photo, "a mask of no photo"), (report.without_mask, "a photo without a mask")]
        {
            names.iter().for_each(|name| errln!("warning: {}: {what}", plain(name)));
        }
    }
    for line in left_out_words(&others) {
        errln!("warning: {}", plain(&line));
    }
    came(&home, &concept, &others, args.json);
    Ok(())
}

/// Photos whose colours could not be converted.
fn colour_words(concept: &Concept) -> Result<Vec<String>, Error> {
    let mut said = Vec::new();
    for path in concept.photos()? {
        let colours = image::look_at_photo(&path, PhotoReading::Converted)?.colours;
        if let (Colours::Left(_), Some(words)) = (&colours, colours.words()) {
            said.push(format!("{}: {words}", photo_name(&path)));
        }
    }
    Ok(said)
}

fn only_model(home: &Home) -> Result<PathBuf, Error> {
    match home.model_names()?.as_slice() {
        [one] => Ok(PathBuf::from(one)),
        [] => Err(Error::Job("name the base model: --base-model PATH; `catbench model add` registers one".into())),
        several => Err(Error::Job(format!("name the base model: --base-model with one of {}", several.join(", ")))),
    }
}

/// Tell the daemon of a concept that has come, and say so, with what was left out of it.
fn came(home: &Home, concept: &Concept, left_out: &[LeftOut], json: bool) {
    super::take_up(home, concept);
    if json {
        let details = read_details(&concept.folder).concept;
        print_json(&json!({ "concept": details, "path": concept.folder, "left_out": left_out }));
    } else {
        outln!("{}", concept.folder.shown());
        errln!("  catbench train {0}    learn it\n  catbench open {0}     the workbench", shell(&concept.id));
    }
}

pub fn list(args: &ListArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    if args.trash {
        return list_trash(&home, args.json);
    }
    let mut reader = super::reader(&home)?;
    let concepts = reader.concepts(args.tag.clone(), args.matching.clone())?;
    for news in reader.news()? {
        errln!("warning: {news}");
    }
    if args.json {
        // Thousands are written as they are, not by way of a tree of values.
        let listed = BTreeMap::from([("concepts", &concepts)]);
        outln!("{}", json::to_string(&listed).map_err(std::io::Error::from)?);
        return Ok(());
    }
    if concepts.is_empty() {
        let filtered = args.tag.is_some() || args.matching.is_some();
        outln!(
            "{}",
            if filtered {
                "no concept is so"
            } else {
                "no concepts: catbench concept new NAME --class WORD --images DIR"
            }
        );
        return Ok(());
    }
    let mut lines = format!(
        "{:<24} {:<14} {:>6} {:>5} {:>5} {:>7}  tags\n",
        "concept", "class word", "photos", "masks", "runs", "samples"
    );
    for c in &concepts {
        let tags = c.problem.as_ref().map_or_else(|| c.tags.join(", "), |problem| format!("! {problem}"));
        let row = format!(
            "{:<24} {:<14} {:>6} {:>5} {:>5} {:>7}  {tags}",
            c.concept, c.class_word, c.photos, c.masks, c.runs, c.samples
        );
        lines.push_str(plain(&row).trim_end());
        lines.push('\n');
    }
    // Thousands are written at once.
    out!("{lines}");
    Ok(())
}

fn list_trash(home: &Home, json: bool) -> Result<(), Error> {
    let removed = home.removed_concepts()?;
    if json {
        let removed: Vec<_> = removed.iter().map(|(name, path)| json!({ "concept": name, "path": path })).collect();
        print_json(&json!({ "trash": removed }));
        return Ok(());
    }
    removed.iter().for_each(|(name, path)| outln!("{:<24} {}", plain(name), path.shown()));
    Ok(())
}

pub fn show(args: &NameArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    let details = super::reader(&home)?.concept(&args.concept, args.json)?;
    // Not of the index: what is no photo is of no other use.
    let left_out = home.concept(&args.concept).and_then(|concept| concept.left_out()).unwrap_or_default();
    if args.json {
        print_json(&json!({ "concept": details, "left_out": left_out }));
        return Ok(());
    }
    let c = &details.concept;
    let files = |files: &[FileRecord]| {
        let name = |file: &FileRecord| match doubt(file.confidence) {
            _ if !file.whole => format!("{} (not whole)", file.name),
            Some(confidence) => format!("{} ({})", file.name, words::doubtful(confidence)),
            None => file.name.clone(),
        };
        files.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("concept", format!("{} (a kind of {})", c.name, c.class_word)),
        ("base model", c.base_model.clone()),
        ("tags", c.tags.join(", ")),
        ("training", settings(&c.train)),
        ("notes", details.notes.clone()),
        ("photos", files(&details.photo_files)),
        ("masks", files(&details.mask_files)),
        ("prompts", c.prompts.join(", ")),
        ("samples", c.samples.to_string()),
        ("problem", c.problem.clone().unwrap_or_default()),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        outln!("{name:<11} {}", plain(value));
    }
    for line in left_out_words(&left_out) {
        outln!("{:<11} {}", "warning", plain(&line));
    }
    if !details.run_records.is_empty() {
        outln!();
        super::runs::print(&details.run_records, false);
    }
    Ok(())
}

/// A tag as it is listed: without spaces around it, and something.
fn tag_word(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("a tag is a word".into()) } else { Ok(text.to_owned()) }
}

pub fn tag(args: &TagArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    let mut concept = home.concept(&args.concept.concept)?;
    let mut tags: Vec<String> = concept.file.tags.iter().filter(|tag| !args.remove.contains(tag)).cloned().collect();
    for tag in &args.tags {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let changed = tags != concept.file.tags;
    client::check_writable(&home)?;
    concept.edit(changed.then_some(&tags), args.notes.as_deref())?;
    super::take_up(&home, &concept);
    if args.concept.json {
        print_json(&json!({ "concept": concept.id, "tags": concept.file.tags, "notes": concept.file.notes }));
    } else {
        outln!("{}", plain(&format!("{}: {}", concept.id, concept.file.tags.join(", "))));
    }
    Ok(())
}

pub fn rename(args: &RenameArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    client::rename(&home, &args.concept.concept, &args.to)?;
    came(&home, &home.concept(&args.to)?, &[], args.concept.json);
    Ok(())
}

pub fn remove(args: &NameArgs) -> Result<(), Error> {
    let path = client::remove(&Home::locate()?, &args.concept)?;
    if args.json {
        print_json(&json!({ "removed": args.concept, "path": path }));
    } else {
        outln!("{} is in the trash: catbench concept restore {}", args.concept, shell(&args.concept));
    }
    Ok(())
}

pub fn restore(args: &RestoreArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    client::check_writable(&home)?;
    let concept = home.restore_concept(&args.concept.concept, args.to.as_deref())?;
    came(&home, &concept, &[], args.concept.json);
    Ok(())
}

impl SampleArgs {
    /// The home, in which something may be changed, the concept, and the picture's path from the concept's folder.
    fn find(&self) -> Result<(Home, Concept, PathBuf), Error> {
        let home = Home::locate()?;
        let concept = home.concept(&self.concept)?;
        client::check_writable(&home)?;
        let here = std::path::absolute(&self.picture)?;
        let inside = here.strip_prefix(&concept.folder).map(PathBuf::from);
        Ok((home, concept, inside.unwrap_or_else(|_| self.picture.clone())))
    }

    fn say(&self, home: &Home, concept: &Concept, said: &serde_json::Value, line: &str) {
        super::take_up(home, concept);
        if self.json {
            print_json(said);
        } else {
            outln!("{line}");
        }
    }
}

pub fn rate(args: &RateArgs) -> Result<(), Error> {
    let (home, concept, picture) = args.sample.find()?;
    let Rating(rating) = args.rating;
    concept.rate(&picture, rating)?;
    let word = rating.map_or("no rating".into(), |rating| format!("rated {rating}"));
    let said = json!({ "concept": concept.id, "picture": picture, "rating": rating });
    args.sample.say(&home, &concept, &said, &format!("{}: {word}", picture.shown()));
    Ok(())
}

pub fn remove_sample(args: &SampleArgs) -> Result<(), Error> {
    let (home, concept, picture) = args.find()?;
    let path = concept.remove_sample(&picture)?;
    let undo = format!("catbench concept restore-sample {} {}", shell(&concept.id), picture.shown());
    let said = json!({ "concept": concept.id, "removed": picture, "path": path });
    args.say(&home, &concept, &said, &format!("{} is in the trash: {undo}", picture.shown()));
    Ok(())
}

pub fn restore_sample(args: &SampleArgs) -> Result<(), Error> {
    let (home, concept, picture) = args.find()?;
    let path = concept.restore_sample(&picture)?;
    let said = json!({ "concept": concept.id, "restored": picture, "path": path });
    args.say(&home, &concept, &said, &path.shown().to_string());
    Ok(())
}

pub fn export(args: &ExportArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    let concept = super::concept(&args.concept.concept)?;
    let out = std::path::absolute(&args.out)?;
    if let Some(error) = client::pack(&home, &concept, &out, args.links.links())? {
        errln!("warning: the hash of its base model is not in it: {error}");
    }
    if args.concept.json {
        print_json(&json!({ "concept": concept.id, "path": out }));
    } else {
        outln!("{}", out.shown());
    }
    Ok(())
}

pub fn import(args: &ImportArgs) -> Result<(), Error> {
    let home = Home::locate()?;
    client::check_writable(&home)?;
    let links = args.links.links();
    let (concept, expected) = home.import_concept(&args.from, args.name.as_deref(), args.unlisted, links)?;
    match (expected, concept.base_model()) {
        // It can be trained anew, and what was learned waits for its base model.
        (_, Err(error)) => errln!("warning: {error}"),
        (None, Ok(_)) => {}
        (Some(expected), Ok(spec)) => match client::model_hash(&spec, &home) {
            Ok(hash) if hash == expected => {}
            Ok(hash) => errln!(
                "warning: {} is not the base model it was made with (sha256 {hash:.12}, not {expected:.12}): what was learned \
                 does not go with it",
                spec.path.shown()
            ),
            Err(error) => errln!("warning: {error}"),
        },
    }
    came(&home, &concept, &[], args.json);
    Ok(())
}
