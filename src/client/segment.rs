//! Masks from points, made by a runner process that lives as long as its [`Segmenter`].

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use image::GrayImage;

use super::Error;
use crate::json;
use crate::programs;
use crate::protocol::{SegmentReply, SegmentRequest};

/// A mask from points.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmented {
    /// Of the picture's size, white where the concept is.
    pub mask: GrayImage,
    /// How it was made, as its file is to say.
    pub how: Vec<(String, String)>,
}

/// The runner that segments. It keeps the model and the last picture's features.
pub struct Segmenter {
    runner: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Segmenter {
    /// Start it.
    ///
    /// # Errors
    /// The system refused.
    pub fn start() -> Result<Self, Error> {
        let mut runner = Command::new(programs::own().map_err(Error::Start)?)
            .args(["runner", "--segment"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::Start)?;
        match (runner.stdin.take(), runner.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self { runner, stdin, stdout: BufReader::new(stdout) }),
            _ => Err(Error::Answer("the runner has no pipes".into())),
        }
    }

    /// The mask that `request` asks for.
    ///
    /// # Errors
    /// What the runner says is wrong with model, picture or points; its end.
    pub fn segment(&mut self, request: &SegmentRequest) -> Result<Segmented, Error> {
        let odd = |problem: &dyn std::fmt::Display| Error::Answer(problem.to_string());
        let line = json::to_line(request).map_err(|error| odd(&error))?;
        let mut reply = String::new();
        let asked = self.stdin.write_all(&line).and_then(|()| self.stdin.flush());
        if asked.and_then(|()| self.stdout.read_line(&mut reply)).is_err() || reply.is_empty() {
            return Err(self.ended());
        }
        match serde_json::from_str(&reply).map_err(|error| odd(&error))? {
            SegmentReply::Failed { message } => Err(Error::Refused(message)),
            SegmentReply::Mask { width, height, runs, how } => {
                let mut pixels = Vec::new();
                for (index, run) in runs.into_iter().enumerate() {
                    pixels.resize(pixels.len() + run as usize, if index % 2 == 0 { 0 } else { 255 });
                }
                let mask = GrayImage::from_raw(width, height, pixels).ok_or_else(|| odd(&"a mask of another size"))?;
                Ok(Segmented { mask, how })
            }
        }
    }

    /// Why there is no answer.
    fn ended(&mut self) -> Error {
        let _ = self.runner.kill();
        let mut said = String::new();
        if let Some(stderr) = &mut self.runner.stderr {
            // What cannot be read is not told; the status is.
            let _ = stderr.read_to_string(&mut said);
        }
        match self.runner.wait() {
            Ok(status) => Error::EndedAtOnce { status, log: said.trim().to_owned() },
            Err(error) => Error::Start(error),
        }
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        // It may be in the middle of a photo that nobody waits for any more.
        let _ = self.runner.kill();
        let _ = self.runner.wait();
    }
}
