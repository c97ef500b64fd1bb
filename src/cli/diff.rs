//! `catbench diff`: in what two pictures differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::image::RgbImage;
use serde_json::json;

use super::{Error, print_json};
use crate::client::words;
use crate::fs::Show;
use crate::image::{png_size, read_photo, read_provenance};
use crate::workspace;

/// The most pixels of pictures that are compared: both are held in memory.
const MAX_PIXELS: u64 = 1 << 26;

/// Options of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A PNG.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How the pixels of two pictures differ.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Pixels {
    /// In all.
    pub count: usize,
    /// Those that differ in any colour.
    pub different: usize,
    /// The largest difference of a value, of 255.
    pub largest: u8,
    /// The mean difference of a value, of 255.
    pub mean: f64,
}

impl Pixels {
    /// None where the pictures differ in size.
    pub fn compare(a: &RgbImage, b: &RgbImage) -> Option<Self> {
        if a.dimensions() != b.dimensions() {
            return None;
        }
        let differences = || a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b));
        let sum: u64 = differences().map(u64::from).sum();
        Some(Self {
            count: a.pixels().len(),
            different: a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count(),
            largest: differences().max().unwrap_or(0),
            mean: sum as f64 / a.len().max(1) as f64,
        })
    }

    /// In words.
    pub fn words(&self) -> String {
        if self.different == 0 {
            return "all equal".into();
        }
        let Self { count, different, largest, mean } = self;
        format!("{different} of {count} differ, by {largest} of 255 at most and {mean:.2} on average")
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let (a, b) = (settings(&args.a)?, settings(&args.b)?);
    let sizes = [png_size(&args.a)?, png_size(&args.b)?];
    // Of two sizes no pixel is compared, and none is read.
    let pixels = if sizes[0] == sizes[1] {
        for (path, (width, height)) in [&args.a, &args.b].into_iter().zip(sizes) {
            if u64::from(width) * u64::from(height) > MAX_PIXELS {
                let problem = format!("{width} × {height} pixels are too many to compare");
                let remedy =
                    format!("up to {} million are; `catbench show` says how it was made", MAX_PIXELS / 1_000_000);
                return Err(workspace::Error::invalid(path, problem, remedy).into());
            }
        }
        Pixels::compare(&read_photo(&args.a)?, &read_photo(&args.b)?)
    } else {
        None
    };
    // In the order of the first, then what only the second says.
    let names = a.0.iter().chain(b.0.iter().filter(|name| !a.1.contains_key(*name)));
    let differ: Vec<(&String, Option<&String>, Option<&String>)> =
        names.map(|name| (name, a.1.get(name), b.1.get(name))).filter(|(_, first, second)| first != second).collect();
    if args.json {
        let settings: Vec<_> = differ.iter().map(|(name, a, b)| json!({ "setting": name, "a": a, "b": b })).collect();
        print_json(&json!({
            "settings": settings,
            "sizes": sizes,
            "pixels": pixels,
        }));
        return Ok(());
    }
    for (path, said) in [(&args.a, &a.0), (&args.b, &b.0)] {
        if said.is_empty() {
            outln!("{} does not say how it was made", path.shown());
        }
    }
    for (name, a, b) in &differ {
        let value = |value: Option<&String>| value.map_or("not said".into(), |value| words::plain(value).into_owned());
        outln!("{:<18} {} | {}", words::plain(name), value(*a), value(*b));
    }
    if differ.is_empty() && !a.0.is_empty() {
        outln!("{:<18} no difference", "settings");
    }
    outln!(
        "{:<18} {}",
        "pixels",
        if let Some(pixels) = pixels {
            pixels.words()
        } else {
            let [(w, h), (v, g)] = sizes;
            format!("{w} × {h} | {v} × {g}")
        }
    );
    Ok(())
}

/// What a picture says: the names in their order, and the value of each.
fn settings(path: &Path) -> Result<(Vec<String>, BTreeMap<String, String>), Error> {
    let rows = words::provenance(&read_provenance(path)?);
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    let mut names = Vec::new();
    for (name, value) in rows {
        if let Some(all) = settings.get_mut(&name) {
            *all = format!("{all}, {value}");
        } else {
            names.push(name.clone());
            settings.insert(name, value);
        }
    }
    Ok((names, settings))
}
