//! Those who make the pictures of a sampling. Some batches are computed at once, each by a maker with a share of the threads
//! (one maker has them all, unless the model is small); what one has decoded is written while it computes on. What a picture
//! becomes depends neither on how many there are nor on who comes first, and pictures are told in the order of their batches.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use image::RgbImage;

use super::batches::Batch;
use super::texts::Texts;
use super::writer::write_picture;
use super::{Planned, Sampled, Sampling};
use crate::diffusion::Decoder;
use crate::personalize::{Encoded, decode, denoise_batch};
use crate::protocol::{PictureConfig, PictureRecord};
use crate::runner::mask_makers::{MadeMask, MaskMakers};
use crate::runner::{Error, Progress, StopFlag};

/// Pictures of a maker that wait to be written.
const WAITING: usize = 4;

/// Batches a maker that may wait behind a slow one to be told: what is not told is made again after a crash.
const UNTOLD: usize = 4;

/// What becomes of a batch's pictures, one after the other.
type Done = Result<Sampled, Error>;

/// Make the pictures of `batches`, and give each to `keep` once it is on disk and told. False when stopped.
pub(super) fn make(
    sampling: &Sampling<'_>,
    batches: Vec<Batch>,
    progress: &mut Progress<'_>,
    stop: &StopFlag,
    keep: &mut dyn FnMut(Sampled),
) -> Result<bool, Error> {
    let (model, wanted) = (sampling.subject.model, batches.iter().map(|batch| batch.pictures.len()).sum::<usize>());
    let steps = |planned: &[Planned]| planned.iter().map(|planned| planned.config.steps).sum::<usize>();
    let total = steps(&sampling.plan);
    let done = total - batches.iter().map(|batch| steps(&batch.pictures)).sum::<usize>();
    let shares = model.compute.shares(model.batches_at_once(largest(&batches), batches.len()))?;
    // Before several would.
    model.unet.read()?;
    let makers = Makers {
        sampling,
        decoder: model.vae.decoder()?,
        masks: MaskMakers::load(
            &sampling.shared.mask_config(),
            sampling.subject.class_word,
            sampling.concept,
            Some(model),
        )?,
        steps: Mutex::new(Steps { progress, done, total }),
        stop,
        given_up: AtomicBool::new(false),
    };
    // The makers have streams of their own on a graphics card, and nothing there waits for what this thread has put on it.
    model.compute.synchronize()?;
    let (tell, turns) = mpsc::sync_channel(UNTOLD * shares.len());
    let work = Work { sampling, texts: Texts::new(sampling), batches: batches.into(), turns: tell };
    let work = Arc::new(Mutex::new(work));
    let told = std::thread::scope(|scope| {
        let mut all = Vec::new();
        for threads in shares {
            let (to_disk, decoded) = mpsc::sync_channel(WAITING);
            let (makers, work) = (&makers, Arc::clone(&work));
            all.push(scope.spawn(move || {
                threads.run(|| makers.compute(&work, &to_disk));
                // What was broken off may still be computed, and the weights go away with this sampling. What goes wrong here comes
                // again with the next that is asked of the device.
                let _ = model.compute.synchronize();
            }));
            all.push(scope.spawn(move || makers.write(&decoded)));
        }
        // The turns end with the last maker.
        drop(work);
        let told = makers.tell(turns, keep);
        for thread in all {
            // It says what it was about.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        told
    })?;
    Ok(!stop.is_set() || told == wanted)
}

/// Images denoised at once in the largest of `batches`, both branches counted.
fn largest(batches: &[Batch]) -> usize {
    let images = |batch: &Batch| {
        let guided = batch.pictures.iter().any(|planned| planned.config.is_guided());
        batch.size.saturating_mul(if guided { 2 } else { 1 })
    };
    batches.iter().map(images).max().unwrap_or(0)
}

/// What is left to do.
struct Work<'a> {
    sampling: &'a Sampling<'a>,
    texts: Texts<'a>,
    batches: VecDeque<Batch>,
    /// Where each batch will be told, in their order.
    turns: SyncSender<Receiver<Done>>,
}

/// A batch whose prompts are read.
struct Prepared {
    size: usize,
    encoded: Vec<Encoded>,
    pictures: Vec<(Planned, PictureRecord)>,
}

impl Work<'_> {
    /// The next batch, and where to tell what becomes of it. None when there is none left or nobody listens any more.
    fn next(&mut self) -> Option<(Result<Prepared, Error>, Sender<Done>)> {
        let batch = self.batches.pop_front()?;
        let (tell, told) = mpsc::channel();
        self.turns.send(told).ok()?;
        Some((self.prepare(batch), tell))
    }

    fn prepare(&mut self, Batch { size, pictures }: Batch) -> Result<Prepared, Error> {
        let mut prepared = Prepared { size, encoded: Vec::new(), pictures: Vec::new() };
        for planned in pictures {
            prepared.encoded.push(self.texts.encode(&planned.config)?);
            let used = self.texts.learned(&planned.config)?.map(|learned| learned.used.clone());
            let record = self.sampling.subject.record(self.sampling.shared, &planned.config, used, size)?;
            prepared.pictures.push((planned, record));
        }
        Ok(prepared)
    }
}

/// A decoded picture with its mask.
struct Made {
    planned: Planned,
    record: PictureRecord,
    picture: RgbImage,
    mask: Option<MadeMask>,
    tell: Sender<Done>,
}

/// Denoising steps of all pictures.
struct Steps<'a, 'b> {
    progress: &'a mut Progress<'b>,
    done: usize,
    total: usize,
}

/// What all makers share.
struct Makers<'a, 'b> {
    sampling: &'a Sampling<'a>,
    decoder: Decoder,
    masks: MaskMakers<'a>,
    steps: Mutex<Steps<'a, 'b>>,
    stop: &'a StopFlag,
    /// Something went wrong: the others need not go on.
    given_up: AtomicBool,
}

impl<'a, 'b> Makers<'a, 'b> {
    fn steps(&self) -> MutexGuard<'_, Steps<'a, 'b>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn ends(&self) -> bool {
        self.stop.is_set() || self.given_up.load(Ordering::Relaxed)
    }

    /// Take batches and compute them until none is left.
    fn compute(&self, work: &Mutex<Work<'_>>, to_disk: &SyncSender<Made>) {
        let _guard = GivesUpInPanic(self);
        while !self.ends() {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((prepared, tell)) = next else { return };
            let made = prepared.and_then(|prepared| self.compute_batch(prepared, &tell, to_disk));
            if let Err(error) = made {
                self.give_up();
                // Nobody listens once the sampling is over.
                let _ = tell.send(Err(error));
            }
        }
    }

    fn compute_batch(&self, batch: Prepared, tell: &Sender<Done>, to_disk: &SyncSender<Made>) -> Result<(), Error> {
        let model = self.sampling.subject.model;
        let Some(denoised) = self.denoise(&batch)? else { return Ok(()) };
        for ((planned, record), latents) in batch.pictures.into_iter().zip(denoised) {
            let picture = model.compute.run(|| decode(&model.vae, &self.decoder, &latents))?;
            let mask = self.masks.mask(&picture, &mut |_, _| ControlFlow::Continue(()))?;
            if to_disk.send(Made { planned, record, picture, mask, tell: tell.clone() }).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The latents of a batch. None when it was broken off.
    fn denoise(&self, batch: &Prepared) -> Result<Option<Vec<Tensor>>, Error> {
        let mut all: Vec<(&Encoded, &PictureConfig)> =
            batch.encoded.iter().zip(&batch.pictures).map(|(text, (planned, _))| (text, &planned.config)).collect();
        // What a picture becomes depends on how many are denoised together.
        all.resize(batch.size.max(all.len()), all[0]);
        let (mut done, mut went_wrong) = (0, None);
        let denoised = denoise_batch(self.sampling.subject.model, &all, &mut |step, _| {
            went_wrong = self.steps().add((step - done) * batch.pictures.len()).err();
            done = step;
            if went_wrong.is_some() || self.ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        went_wrong.map_or(Ok(denoised), Err)
    }

    /// Write what a maker has decoded.
    fn write(&self, decoded: &Receiver<Made>) {
        let _guard = GivesUpInPanic(self);
        for Made { planned, record, picture, mask, tell } in decoded {
            let written = write_picture(self.sampling.root, &planned.path, (&picture, mask.as_ref()), &record);
            let failed = written.is_err();
            let (step, checkpoint) = (record.trained_steps(), record.checkpoint.and_then(|used| used.sha256));
            let told = tell.send(written.map(|()| Sampled { planned, picture, mask, step, checkpoint }));
            if failed || told.is_err() {
                return self.give_up();
            }
        }
    }

    /// Tell of each picture, and give it to `keep`, batch after batch. How many there were. When something goes wrong, what is
    /// on the disk is told all the same.
    fn tell(&self, turns: Receiver<Receiver<Done>>, keep: &mut dyn FnMut(Sampled)) -> Result<usize, Error> {
        let (mut count, mut went_wrong) = (0, None);
        for told in turns.into_iter().flatten() {
            let told = told.and_then(|sampled| {
                self.steps().progress.write(sampled.event())?;
                Ok(sampled)
            });
            match told {
                Ok(sampled) => {
                    keep(sampled);
                    count += 1;
                }
                Err(error) => {
                    self.give_up();
                    went_wrong.get_or_insert(error);
                }
            }
        }
        went_wrong.map_or(Ok(count), Err)
    }
}

impl Steps<'_, '_> {
    /// So many more are done.
    fn add(&mut self, steps: usize) -> Result<(), Error> {
        self.done += steps;
        self.progress.tell(self.done, self.total)
    }
}

/// A thread that panics would be noticed only when all others are done.
struct GivesUpInPanic<'a, 'b, 'c>(&'a Makers<'b, 'c>);

impl Drop for GivesUpInPanic<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}
