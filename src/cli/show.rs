//! `catbench show`: how a picture was made.

use std::path::PathBuf;

use serde_json::json;

use super::{Error, print_json};
use crate::client::words;
use crate::fs::Show;
use crate::image::{Provenance, read_provenance};

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A picture of this program or of another: PNG, JPEG or WebP.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let said = read_provenance(&args.file)?;
    if args.json {
        let (kind, value) = match &said {
            Provenance::Record(record) => ("record", json!(record)),
            Provenance::Parameters(parameters) => ("parameters", json!(parameters)),
            Provenance::Unread(keywords) => ("unread", json!({ "text": keywords })),
            Provenance::Nothing => ("nothing", serde_json::Value::Null),
        };
        print_json(&json!({ "path": args.file, "said": kind, "provenance": value }));
        return Ok(());
    }
    let how = match &said {
        Provenance::Record(_) => "made by catbench; `catbench replay` makes it again".into(),
        Provenance::Parameters(said) => format!("what {} wrote into it", said.program.unwrap_or("another program")),
        Provenance::Unread(_) => "there is text of a kind that is not read here; it may say how it was made".into(),
        Provenance::Nothing => "it does not say how it was made".to_owned(),
    };
    outln!("{}: {how}", args.file.shown());
    for (name, value) in words::provenance(&said) {
        outln!("{:<18} {}", words::plain(&name), words::plain(&value));
    }
    Ok(())
}
