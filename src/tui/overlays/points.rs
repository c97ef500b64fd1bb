//! Points of Segment Anything in the mask editor: those on the picture, the runner that makes a mask of them on another
//! thread, and what comes of it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use image::GrayImage;

use crate::client::{self, Segmented, Segmenter};
use crate::image::MaskCanvas;
use crate::protocol::{MaskPoint, SegmentRequest};
use crate::tui::deeds::Effect;

/// What came of the points on the picture at this path.
type Answer = (PathBuf, Result<Segmented, String>);

/// The points on the picture that is drawn on.
pub struct Points {
    /// The weights; none where the concept names none.
    model: Option<PathBuf>,
    /// It keeps the picture's features, so that a second point is quick.
    segmenter: Arc<Mutex<Option<Segmenter>>>,
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    /// Those that are down.
    down: Vec<MaskPoint>,
    /// The mask as it was before the first of them, which their mask is added to.
    before: GrayImage,
    /// The mask that they are put down on: as the last answer left it.
    after: GrayImage,
    /// The answers for this picture, as they came.
    made: Vec<Segmented>,
    busy: bool,
}

impl Points {
    /// None yet.
    pub fn new(model: Option<PathBuf>) -> Self {
        let (tell, told) = mpsc::channel();
        let (segmenter, down) = (Arc::default(), Vec::new());
        let (before, after) = (GrayImage::default(), GrayImage::default());
        Self { model, segmenter, tell, told, down, before, after, made: Vec::new(), busy: false }
    }

    /// Those that are down.
    pub fn down(&self) -> &[MaskPoint] {
        &self.down
    }

    /// The runner is making a mask of them.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begin anew with the next point.
    pub fn lift(&mut self) {
        self.down.clear();
    }

    /// Forget the picture.
    pub fn leave(&mut self) {
        self.down.clear();
        self.made.clear();
    }

    /// Put a point down on `picture`, whose mask is `mask`. What that sets off, or why it cannot be.
    pub fn put(&mut self, picture: &Path, mask: &GrayImage, point: MaskPoint) -> Result<Effect, String> {
        let missing = "concept.toml names no sam_model: mobile_sam-tiny-vitt.safetensors of hf lmz/candle-sam";
        let model = self.model.clone().ok_or(missing)?;
        if self.busy {
            return Err("segmenting…: one point at a time".into());
        }
        // What was drawn or taken back since is not to be lost.
        if self.down.is_empty() || self.after != *mask {
            self.down.clear();
            self.before.clone_from(mask);
        }
        if !point.concept && self.down.is_empty() {
            return Err("a point on the concept comes first: a chooses it".into());
        }
        self.down.push(point);
        self.after.clone_from(mask);
        self.busy = true;
        let request = SegmentRequest::new(model, picture.to_owned(), self.down.clone());
        let (segmenter, tell) = (Arc::clone(&self.segmenter), self.tell.clone());
        Ok(Effect::aside("segmenting", move || {
            let made = ask(&segmenter, &request);
            // The editor may be closed.
            let _ = tell.send((request.picture, made));
            Ok(Effect::Draw)
        }))
    }

    /// Take in what has come for `picture`, as one step of its mask. What is to be said of it.
    pub fn take(&mut self, picture: &Path, canvas: &mut MaskCanvas) -> Option<String> {
        let mut said = None;
        while let Ok((of, made)) = self.told.try_recv() {
            self.busy = false;
            match made {
                // The editor has gone on, or another tool was taken.
                _ if of != picture || self.down.is_empty() => {}
                Err(wrong) => {
                    self.down.pop();
                    said = Some(wrong);
                }
                Ok(made) if made.mask.dimensions() != canvas.mask().dimensions() => {
                    said = Some("the picture has changed: open it again".into());
                }
                Ok(made) => {
                    if self.after != *canvas.mask() {
                        self.before.clone_from(canvas.mask());
                    }
                    let mut mask = self.before.clone();
                    mask.iter_mut().zip(made.mask.iter()).for_each(|(value, &other)| *value = (*value).max(other));
                    canvas.replace(mask);
                    self.after.clone_from(canvas.mask());
                    if made.mask.iter().all(|&value| value == 0) {
                        said = Some("nothing is marked at these points".into());
                    }
                    self.made.push(made);
                }
            }
        }
        said
    }

    /// How `mask` was made, as its file is to say: by points alone, or by hand over what points made and what `said` how it was
    /// made; `said` is none where there was nothing.
    pub fn how(&self, mask: &GrayImage, said: Option<&[(String, String)]>) -> Vec<(String, String)> {
        if let Some(made) = self.made.iter().rfind(|made| made.mask == *mask) {
            return made.how.clone();
        }
        let value = |text: &[(String, String)], wanted: &str| {
            text.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone())
        };
        let mut how = vec![("mask_made_by".to_owned(), "hand".to_owned())];
        let points = self.made.last().filter(|_| self.before != *mask);
        // What was drawn over something by hand once is still drawn over it.
        let before = said.map(|text| {
            let over = value(text, "drawn_over").or_else(|| value(text, "mask_made_by"));
            over.unwrap_or_else(|| "unknown".into())
        });
        let mut over: Vec<String> =
            before.into_iter().chain(points.and_then(|made| value(&made.how, "mask_made_by"))).collect();
        over.dedup();
        if !over.is_empty() {
            how.push(("drawn_over".into(), over.join(", ")));
        }
        let settings = said.into_iter().flatten().chain(points.iter().flat_map(|made| &made.how));
        // How sure of it was what made it is no word on what a hand has drawn.
        let not_kept = ["mask_made_by", "drawn_over", "confidence"];
        for (key, value) in settings.filter(|(key, _)| !not_kept.contains(&key.as_str())) {
            match how.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => known.clone_from(value),
                None => how.push((key.clone(), value.clone())),
            }
        }
        how
    }
}

fn ask(segmenter: &Mutex<Option<Segmenter>>, request: &SegmentRequest) -> Result<Segmented, String> {
    let words = |error: client::Error| error.to_string();
    let mut place = segmenter.lock().unwrap_or_else(PoisonError::into_inner);
    let mut segmenter = match place.take() {
        Some(running) => running,
        None => Segmenter::start().map_err(words)?,
    };
    let made = segmenter.segment(request);
    // One that has ended is started anew for the next point.
    if !matches!(made, Err(client::Error::EndedAtOnce { .. })) {
        *place = Some(segmenter);
    }
    made.map_err(words)
}
