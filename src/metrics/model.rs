//! What all score models of pictures have in common.

use candle_core::{D, Device, Tensor};
use image::RgbImage;

use super::{Error, Preprocessor};
use crate::diffusion::is_finite;
use crate::protocol::Backbone;

/// Pictures that go through a vision tower at once: enough for speed, few enough for the memory of a large tower.
pub(super) const BATCH: usize = 16;

/// A model that turns pictures into points of unit length, near each other where the pictures show the same.
pub trait PictureModel {
    /// What every record made with this model says about it.
    fn backbone(&self) -> &Backbone;

    /// How pictures are prepared for it.
    fn preprocessor(&self) -> &Preprocessor;

    /// Where it computes.
    fn device(&self) -> &Device;

    /// Numbers of an embedding, D.
    fn width(&self) -> usize;

    /// Unit-norm embeddings [N, D] of pictures of any size, all at once.
    ///
    /// # Errors
    /// A failing computation.
    fn embed(&self, pictures: &[RgbImage]) -> Result<Tensor, Error>;

    /// Unit-norm embeddings [N, D] of any number of pictures of any size. `done` hears how many are through.
    ///
    /// # Errors
    /// No pictures, a failing computation.
    fn image_embeds(&self, pictures: &[RgbImage], done: &mut dyn FnMut(usize)) -> Result<Tensor, Error> {
        let mut parts = Vec::new();
        let mut through = 0;
        for batch in pictures.chunks(BATCH) {
            parts.push(self.embed(batch)?);
            through += batch.len();
            done(through);
        }
        if parts.is_empty() {
            return Err(Error::Nothing("pictures"));
        }
        Ok(Tensor::cat(&parts, 0)?)
    }
}

/// Each row of what the model `name` gives, divided by its length.
///
/// # Errors
/// Numbers that are not finite, such as the direction of a row of zeros.
pub(super) fn unit(rows: &Tensor, name: &str) -> Result<Tensor, Error> {
    let rows = rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?;
    if is_finite(&rows)? { Ok(rows) } else { Err(Error::NotFinite { model: name.to_owned() }) }
}
