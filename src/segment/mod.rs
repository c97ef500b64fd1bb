//! Segment Anything (Kirillov et al. 2023, arXiv 2304.02643): a mask from points on a photo. The encoders and the layers are
//! candle-transformers'; what goes in and comes out is done here as the authors' `SamPredictor` does it, because that crate
//! leaves it to its callers, enlarges masks without interpolation, and takes the faster of two GELUs (see `decoder`).
//!
//! The photo goes through the encoder once ([`Segmenter::encode`], many seconds); each set of points only through the small
//! decoder ([`Segmenter::mask`], a fraction of a second).

mod decoder;
mod error;
mod kind;
mod network;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use candle_transformers::models::segment_anything::image_encoder::ImageEncoderViT;
use candle_transformers::models::segment_anything::prompt_encoder::PromptEncoder;
use candle_transformers::models::segment_anything::tiny_vit::{TinyViT, tiny_vit_5m};
use image::{GrayImage, Luma, RgbImage};

use self::decoder::MaskDecoder;
pub use self::error::Error;
use self::kind::Kind;
pub use self::network::MaskNetwork;
use crate::diffusion::TensorFile;
use crate::fs::sha256;
use crate::image::{Filter, resize, resize_map};
use crate::protocol::MaskPoint;

/// Side of the square that the encoder sees; the photo lies in its upper left corner.
const SIDE: usize = 1024;

/// Side of a patch of it.
const PATCH: usize = 16;

/// Width of what encoder and decoder exchange.
const WIDTH: usize = 256;

/// Mean and deviation of red, green and blue that pixels of 0 to 255 are normalised by.
const PIXELS: [(f32, f32); 3] = [(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)];

enum Encoder {
    /// Of Segment Anything.
    Vit(Box<ImageEncoderViT>),
    /// Of MobileSAM (Zhang et al. 2023, arXiv 2306.14289). Its GELU in candle-transformers is the approximation by tanh, where
    /// the authors' is exact: logits differ by about 4e-4 of their size, and about one pixel in 6000 of a mask.
    TinyVit(Box<TinyViT>),
}

/// A Segment Anything model, loaded. It computes in float32.
pub struct Segmenter {
    encoder: Encoder,
    prompts: PromptEncoder,
    /// What is added to the place of a box's upper left and of its lower right corner, [1, 256] each.
    corners: [Tensor; 2],
    decoder: MaskDecoder,
    device: Device,
    /// Its file.
    pub path: PathBuf,
    /// Of that file.
    pub sha256: String,
}

/// A photo that has gone through the encoder.
pub struct Encoded {
    /// [1, 256, 64, 64].
    features: Tensor,
    /// Width and height of the photo.
    size: (u32, u32),
    /// The same as the encoder saw it: the longer side is 1024.
    scaled: (u32, u32),
}

impl Segmenter {
    /// Load the weights in `path` onto `device`, in the names of the authors: `.safetensors`, or what `torch.save` wrote. Which model they
    /// are of (MobileSAM, or SAM with a ViT of any size) is told by names and shapes.
    ///
    /// # Errors
    /// A file that is none of tensors or is cut short, weights of another model, a tensor that is missing or misshapen.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let wrong = |error: candle_core::Error| Error::model(path, format!("{error}: these weights are not whole"));
        let file = TensorFile::open(path)?;
        let kind = Kind::of(&file)?;
        let mut tensors = HashMap::new();
        for (name, _) in file.tensors().filter(|(_, info)| info.is_float()) {
            tensors.insert(name.to_owned(), file.tensor(name)?);
        }
        let weights = VarBuilder::from_tensors(tensors, DType::F32, device);
        let of_encoder = weights.pp("image_encoder");
        let encoder = match kind {
            Kind::TinyVit => Encoder::TinyVit(Box::new(tiny_vit_5m(of_encoder).map_err(wrong)?)),
            Kind::Vit { width, depth, heads, whole } => {
                let (window, biases, tables) = (14, true, true);
                let vit = ImageEncoderViT::new(
                    SIDE, PATCH, 3, width, depth, heads, WIDTH, biases, tables, tables, window, &whole, of_encoder,
                );
                Encoder::Vit(Box::new(vit.map_err(wrong)?))
            }
        };
        let grid = (SIDE / PATCH, SIDE / PATCH);
        let corner = |i: usize| weights.get((1, WIDTH), &format!("prompt_encoder.point_embeddings.{i}.weight"));
        Ok(Self {
            encoder,
            prompts: PromptEncoder::new(WIDTH, grid, (SIDE, SIDE), 16, weights.pp("prompt_encoder")).map_err(wrong)?,
            corners: [corner(2).map_err(wrong)?, corner(3).map_err(wrong)?],
            decoder: MaskDecoder::new(&weights.pp("mask_decoder")).map_err(wrong)?,
            sha256: sha256(path).map_err(|source| Error::Read { path: path.to_owned(), source })?,
            device: device.clone(),
            path: path.to_owned(),
        })
    }

    /// What the encoder makes of `photo`.
    ///
    /// # Errors
    /// A failing computation.
    pub fn encode(&self, photo: &RgbImage) -> Result<Encoded, Error> {
        let (width, height) = photo.dimensions();
        let scale = SIDE as f64 / f64::from(width.max(height).max(1));
        // The authors' rounding; a line of pixels keeps one.
        let side = |from: u32| ((f64::from(from) * scale + 0.5) as u32).max(1);
        let scaled = (side(width), side(height));
        let photo = resize(photo, scaled.0, scaled.1, Filter::Bilinear);
        // Normalised before it is padded: what is around the photo is 0, not black.
        let mut pixels = vec![0f32; 3 * SIDE * SIDE];
        for (x, y, pixel) in photo.enumerate_pixels() {
            for (channel, (value, (mean, deviation))) in pixel.0.iter().zip(PIXELS).enumerate() {
                pixels[(channel * SIDE + y as usize) * SIDE + x as usize] = (f32::from(*value) - mean) / deviation;
            }
        }
        let pixels = Tensor::from_vec(pixels, (1, 3, SIDE, SIDE), &self.device)?;
        let features = match &self.encoder {
            Encoder::Vit(vit) => vit.forward(&pixels)?,
            Encoder::TinyVit(vit) => vit.forward(&pixels)?,
        };
        Ok(Encoded { features, size: (width, height), scaled })
    }

    /// The logits of the four masks, [4, 256, 256], of the square that the encoder saw, and how good the model takes each of
    /// the four to be. The first is for several points or a box; the others are a part, a larger part and the whole at a single
    /// point. The concept lies in `frame`, where one is given: left, top, right and bottom, in pixels of the photo.
    ///
    /// # Errors
    /// No point that shows the concept, one outside of the photo, a failing computation.
    pub fn logits(
        &self,
        photo: &Encoded,
        points: &[MaskPoint],
        frame: Option<[u32; 4]>,
    ) -> Result<(Tensor, Vec<f32>), Error> {
        let (width, height) = photo.size;
        if let Some(outside) = points.iter().find(|point| point.x >= width || point.y >= height) {
            return Err(Error::Outside { point: (outside.x, outside.y), size: photo.size });
        }
        if !points.iter().any(|point| point.concept) {
            return Err(Error::NoPoint);
        }
        // In pixels of the square; the prompt encoder goes to the middle of the pixel by itself.
        let to = |at: u32, of: u32, scaled: u32| (f64::from(at) * f64::from(scaled) / f64::from(of)) as f32;
        let place = |x: u32, y: u32| [to(x, width, photo.scaled.0), to(y, height, photo.scaled.1)];
        let mut places: Vec<f32> = points.iter().flat_map(|point| place(point.x, point.y)).collect();
        let mut labels: Vec<f32> = points.iter().map(|point| f32::from(u8::from(point.concept))).collect();
        if let Some([left, top, right, bottom]) = frame {
            places.extend(place(left, top).into_iter().chain(place(right, bottom)));
            // No label of candle's: it gives the bare places of the corners.
            labels.extend([2.0, 2.0]);
        }
        let count = labels.len();
        let places = Tensor::from_vec(places, (1, count, 2), &self.device)?;
        let labels = Tensor::from_vec(labels, (1, count), &self.device)?;
        let (mut sparse, dense) = self.prompts.forward(Some((&places, &labels)), None, None)?;
        if frame.is_some() {
            // With a box there is no padding, which comes last. (candle's own boxes cannot stand beside points.)
            let marked = sparse.narrow(1, 0, points.len())?;
            let corners = Tensor::stack(&[&self.corners[0], &self.corners[1]], 1)?;
            let corners = (sparse.narrow(1, points.len(), 2)? + corners)?;
            sparse = Tensor::cat(&[marked, corners], 1)?;
        }
        let (masks, quality) = self.decoder.forward(&photo.features, &self.prompts.get_dense_pe()?, &sparse, &dense)?;
        Ok((masks, quality.to_vec1()?))
    }

    /// The mask at `points`, of the photo's own size: white where the model takes the concept to be likelier than `threshold`,
    /// above 0 and below 1. With a single point, which may mean a part or the whole, it is the one of three masks that the
    /// model thinks best of.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); weights that give no numbers.
    pub fn mask(&self, photo: &Encoded, points: &[MaskPoint], threshold: f64) -> Result<GrayImage, Error> {
        let (logits, quality) = self.logits(photo, points, None)?;
        let best = match points {
            [_] => (1..quality.len()).max_by(|&a, &b| quality[a].total_cmp(&quality[b])).unwrap_or(0),
            _ => 0,
        };
        self.to_mask(photo, &logits.get(best)?, threshold)
    }

    /// All four masks at `points` and in `frame`, as [`logits`](Self::logits) has them.
    ///
    /// # Errors
    /// As there; weights that give no numbers.
    pub fn masks(&self, photo: &Encoded, points: &[MaskPoint], frame: [u32; 4]) -> Result<Vec<GrayImage>, Error> {
        let (logits, _) = self.logits(photo, points, Some(frame))?;
        (0..logits.dim(0)?).map(|i| self.to_mask(photo, &logits.get(i)?, 0.5)).collect()
    }

    /// The mask of `logits` [256, 256] of the square, of the photo's own size.
    fn to_mask(&self, photo: &Encoded, logits: &Tensor, threshold: f64) -> Result<GrayImage, Error> {
        let (rows, columns) = logits.dims2()?;
        let low = logits.flatten_all()?.to_vec1::<f32>()?;
        if low.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::model(&self.path, "these weights give no numbers: take the published file".into()));
        }
        // Through the square, as the authors do, so that edges lie where theirs do.
        let square = resize_map(&low, (rows, columns), (SIDE, SIDE));
        let size = |(width, height): (u32, u32)| (height as usize, width as usize);
        let (height, width) = size(photo.scaled);
        let seen: Vec<f32> = square.chunks_exact(SIDE).take(height).flat_map(|row| &row[..width]).copied().collect();
        let own = resize_map(&seen, (height, width), size(photo.size));
        let least = (threshold / (1.0 - threshold)).ln() as f32;
        let mut mask = GrayImage::new(photo.size.0, photo.size.1);
        mask.pixels_mut().zip(own).for_each(|(pixel, logit)| *pixel = Luma([if logit > least { 255 } else { 0 }]));
        Ok(mask)
    }
}
