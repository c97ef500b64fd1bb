//! Who makes the masks of a job's pictures, and what each mask says of itself.

use std::ops::ControlFlow;
use std::path::Path;

use ::image::{GrayImage, RgbImage};

use super::Error;
use crate::diffusion::{BaseModel, Compute};
use crate::image;
use crate::masks::{BaseModelMasks, Mask, sam_mask};
use crate::protocol::{FloatType, MaskConfig, MaskMaker};
use crate::segment::{MaskNetwork, Segmenter};
use crate::workspace::Concept;

/// A maker of masks, ready.
pub(super) enum MaskMakers<'a> {
    BaseModel(BaseModelMasks<'a>),
    Sam(BaseModelMasks<'a>, Box<Segmenter>),
    Segmenter(Box<MaskNetwork>),
    Nobody,
}

/// A mask, and what its file says of it.
#[derive(Debug, Clone)]
pub(super) struct MadeMask {
    pub mask: GrayImage,
    /// Of 0 to 1, where the maker knows.
    pub confidence: Option<f64>,
    how: Vec<(&'static str, String)>,
}

/// Asks whether to go on after each look.
pub(super) type Looked<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

impl<'a> MaskMakers<'a> {
    /// The maker that `config` names, for pictures of `class_word`; its models are `concept`'s. `model` is asked for only where
    /// the maker looks with it.
    ///
    /// # Errors
    /// concept.toml does not name the maker's model, or that is damaged.
    pub fn load(
        config: &MaskConfig,
        class_word: &str,
        concept: &Concept,
        model: Option<&'a BaseModel>,
    ) -> Result<Self, Error> {
        let compute = || match model {
            Some(model) => Ok(model.compute.in_float32()),
            None => Compute::open(config.device, FloatType::F32),
        };
        let by_base_model =
            || Ok::<_, Error>(model.map(|model| BaseModelMasks::new(model, class_word, config)).transpose()?);
        Ok(match config.maker {
            MaskMaker::Nobody => Self::Nobody,
            MaskMaker::Segmenter => Self::Segmenter(Box::new(MaskNetwork::load(&concept.segmenter()?, &compute()?)?)),
            MaskMaker::BaseModel => by_base_model()?.map_or(Self::Nobody, Self::BaseModel),
            MaskMaker::Sam => match by_base_model()? {
                Some(points) => {
                    Self::Sam(points, Box::new(Segmenter::load(&concept.sam_model()?, compute()?.device())?))
                }
                None => Self::Nobody,
            },
        })
    }

    /// The mask of `picture`; none where nobody makes one, or where `looked` breaks off.
    ///
    /// # Errors
    /// A failing computation.
    pub fn mask(&self, picture: &RgbImage, looked: Looked<'_>) -> Result<Option<MadeMask>, Error> {
        let made = |Mask { mask, confidence }, mut how: Vec<_>| {
            how.push(("confidence", format!("{confidence:.3}")));
            MadeMask { mask, confidence: Some(confidence), how }
        };
        Ok(match self {
            Self::Nobody => None,
            Self::BaseModel(maker) => maker.mask(picture, looked)?.map(|mask| made(mask, maker.how())),
            Self::Sam(points, segmenter) => match points.mask(picture, looked)? {
                None => None,
                Some(seen) => {
                    let mut how = points.how();
                    how[0].1 = MaskMaker::Sam.word().into();
                    how.push(("sam_model_sha256", segmenter.sha256.clone()));
                    Some(made(sam_mask(segmenter, picture, seen)?, how))
                }
            },
            Self::Segmenter(network) => {
                let mask = network.mask(picture)?;
                let how = vec![
                    ("mask_made_by", MaskMaker::Segmenter.word().into()),
                    ("segmenter_sha256", network.sha256.clone()),
                ];
                Some(MadeMask { mask, confidence: None, how })
            }
        })
    }
}

impl MadeMask {
    /// What its file says of how it was made.
    pub fn text(&self) -> Vec<(&str, &str)> {
        self.how.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }

    /// Write it to `path`.
    ///
    /// # Errors
    /// The file system refused.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(image::write_png(path, &self.mask, &self.text())?)
    }
}
