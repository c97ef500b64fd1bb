//! Masks from points, for as long as a client asks: see [`SegmentRequest`]. They are made on the CPU: a job may have all of a graphics card,
//! and nobody waits in a queue to set a point.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use candle_core::Device;

use super::Error;
use crate::image::{clean_mask, read_photo};
use crate::json;
use crate::protocol::{MaskPoint, SegmentReply, SegmentRequest};
use crate::segment::{self, Encoded, Segmenter};
use crate::workspace;

/// A file as it was when it was read.
type Seen = (PathBuf, SystemTime);

/// What is kept between two requests.
#[derive(Default)]
struct Kept {
    model: Option<(Seen, Segmenter)>,
    photo: Option<(Seen, Encoded)>,
}

/// Answer requests on stdin until there are no more.
pub fn segment() -> ExitCode {
    let mut kept = Kept::default();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let reply = match serde_json::from_str(&line) {
            Ok(request) => {
                kept.answer(&request).unwrap_or_else(|error| SegmentReply::Failed { message: error.to_string() })
            }
            Err(error) => SegmentReply::Failed { message: format!("not a request: {error}") },
        };
        let mut stdout = std::io::stdout().lock();
        let written = json::to_line(&reply).map_err(std::io::Error::from).and_then(|line| stdout.write_all(&line));
        if written.and_then(|()| stdout.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Kept {
    fn answer(&mut self, request: &SegmentRequest) -> Result<SegmentReply, Error> {
        if !(request.threshold > 0.0 && request.threshold < 1.0) {
            return Err(segment::Error::Threshold(request.threshold).into());
        }
        let (model, picture) = (seen(&request.model)?, seen(&request.picture)?);
        let segmenter = if let Some((_, segmenter)) = self.model.take_if(|(of, _)| *of == model) {
            segmenter
        } else {
            self.photo = None;
            Segmenter::load(&request.model, &Device::Cpu)?
        };
        let (_, segmenter) = self.model.insert((model, segmenter));
        let encoded = match self.photo.take_if(|(of, _)| *of == picture) {
            Some((_, encoded)) => encoded,
            None => segmenter.encode(&read_photo(&request.picture)?)?,
        };
        let (_, encoded) = self.photo.insert((picture, encoded));
        let mask = clean_mask(&segmenter.mask(encoded, &request.points, request.threshold)?, request.smallest_part);
        let mut runs = vec![0];
        for &value in mask.iter() {
            // Runs of black have even places.
            if (value > 0) == runs.len().is_multiple_of(2) {
                *runs.last_mut().unwrap_or(&mut 0) += 1;
            } else {
                runs.push(1);
            }
        }
        let (width, height) = mask.dimensions();
        Ok(SegmentReply::Mask { width, height, runs, how: how(segmenter, request) })
    }
}

fn seen(path: &Path) -> Result<Seen, Error> {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    Ok((path.to_owned(), changed.map_err(workspace::Error::io("read", path))?))
}

/// What the mask says of itself.
fn how(segmenter: &Segmenter, request: &SegmentRequest) -> Vec<(String, String)> {
    let points = |concept: bool| {
        let of_kind = request.points.iter().filter(|point| point.concept == concept);
        of_kind.map(|MaskPoint { x, y, .. }| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
    };
    let model = segmenter.path.file_name().unwrap_or_default().to_string_lossy();
    [
        ("mask_made_by", "segment_anything".to_owned()),
        ("sam_model", model.into_owned()),
        ("sam_model_sha256", segmenter.sha256.clone()),
        ("points", points(true)),
        ("not_points", points(false)),
        ("threshold", request.threshold.to_string()),
        ("smallest_part", request.smallest_part.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
