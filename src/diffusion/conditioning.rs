//! What a UNet is told besides latents and timesteps: the hidden states of one or more text encoders side by side, and for models that
//! have them a pooled vector and time ids (SDXL: Podell et al. 2023, arXiv 2307.01952). Stable Diffusion 1.x and 2.x are the case of one
//! text encoder and nothing else. Training, sampling and masks all use this one type. Nothing fills
//! the pooled vector and the time ids yet, and the UNet refuses them.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::BaseModel;
use super::error::{Error, Result};
use super::finite::check_finite;
use super::ops;
use super::tape::Tracked;
use super::text_encoder::{Additions, Begun, TextEncoder};
use super::tokenizer::{Span, Tokenizer};

/// A text encoder with the tokenizer that it reads by.
pub struct TextModel {
    /// As its folder is called: `text_encoder`.
    pub name: String,
    /// Words to ids.
    pub tokenizer: Tokenizer,
    /// Ids to a hidden state.
    pub encoder: TextEncoder,
}

/// What a UNet is told.
#[derive(Clone)]
pub struct Conditioning {
    /// The hidden states of all text encoders side by side, [B or 1, T, D].
    pub hidden: Tracked,
    /// A vector of each whole text, [B or 1, P].
    pub pooled: Option<Tracked>,
    /// Original size, crop and target size of each picture, [B or 1, 6].
    pub time_ids: Option<Tensor>,
}

/// Where in a text a learned word stands, whatever is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedWord {
    /// In bytes of the text.
    pub range: Range<usize>,
    /// Its number among the words of the [`Additions`].
    pub word: usize,
}

/// Texts as token ids, [B, T] for each text encoder.
#[derive(Clone)]
pub struct TokenIds(pub Vec<Tensor>);

/// Texts on their way through the text encoders, as far as they depend on nothing learned.
pub struct BegunTexts(Vec<Begun>);

impl From<Tensor> for Conditioning {
    fn from(hidden: Tensor) -> Self {
        Tracked::from(hidden).into()
    }
}

impl From<Tracked> for Conditioning {
    /// Of a model that is told nothing else.
    fn from(hidden: Tracked) -> Self {
        Self { hidden, pooled: None, time_ids: None }
    }
}

impl Conditioning {
    /// `f` of each of its tensors, without a gradient.
    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            hidden: f(self.hidden.value())?.into(),
            pooled: self.pooled.as_ref().map(|pooled| f(pooled.value()).map(Tracked::from)).transpose()?,
            time_ids: self.time_ids.as_ref().map(&f).transpose()?,
        })
    }

    /// How many texts.
    pub fn batch(&self) -> usize {
        self.hidden.value().dims()[0]
    }

    /// For `batch` pictures, where it is of one text.
    pub fn repeated(&self, batch: usize) -> Result<Self> {
        self.map(|x| {
            let mut shape = x.dims().to_vec();
            shape[0] = batch;
            Ok(x.expand(shape)?)
        })
    }

    /// One batch of all, without a gradient.
    ///
    /// # Errors
    /// None are given, or they are of different models.
    pub fn cat(all: &[Self]) -> Result<Self> {
        let first = all.first().ok_or_else(|| Error::Setting("no text".into()))?;
        let cat = |of: &dyn Fn(&Self) -> Option<Tensor>| {
            let parts: Option<Vec<Tensor>> = all.iter().map(of).collect();
            let missing = || Error::Setting("texts of different models".into());
            Ok::<_, Error>(Tensor::cat(&parts.ok_or_else(missing)?, 0)?.contiguous()?)
        };
        let pooled = |one: &Self| one.pooled.as_ref().map(|pooled| pooled.value().clone());
        Ok(Self {
            hidden: cat(&|one| Some(one.hidden.value().clone()))?.into(),
            pooled: first.pooled.as_ref().map(|_| cat(&pooled).map(Tracked::from)).transpose()?,
            time_ids: first.time_ids.as_ref().map(|_| cat(&|one| one.time_ids.clone())).transpose()?,
        })
    }

    /// The same with other hidden states.
    #[must_use]
    pub fn with_hidden(self, hidden: Tensor) -> Self {
        Self { hidden: hidden.into(), ..self }
    }

    /// Refuse one that is not finite; `what` says what it is.
    ///
    /// # Errors
    /// Just that.
    pub fn check(&self, what: impl Fn() -> String) -> Result<()> {
        check_finite(self.hidden.value(), &what)?;
        self.pooled.as_ref().map_or(Ok(()), |pooled| check_finite(pooled.value(), &what))
    }
}

impl TokenIds {
    /// One batch of all.
    ///
    /// # Errors
    /// There are none.
    pub fn cat<'a>(all: impl Iterator<Item = &'a Self>) -> Result<Self> {
        let all: Vec<&Self> = all.collect();
        let encoders = all.first().map_or(0, |first| first.0.len());
        let cat = |i: usize| Tensor::cat(&all.iter().map(|ids| &ids.0[i]).collect::<Vec<_>>(), 0);
        Ok(Self((0..encoders).map(cat).collect::<candle_core::Result<_>>()?))
    }
}

impl TextModel {
    /// Ids [1, T] of `text`, cut or padded to the model's length, on the CPU.
    pub fn ids(&self, text: &str) -> Result<Tensor> {
        self.ids_with(text, &[], None)
    }

    /// The same with `words` of `additions` in it.
    fn ids_with(&self, text: &str, words: &[LearnedWord], additions: Option<&Additions>) -> Result<Tensor> {
        let ids = self.tokenizer.tokens_with(text, &self.spans(words, additions)?)?.ids;
        let length = ids.len();
        Ok(Tensor::from_vec(ids, (1, length), &Device::Cpu)?)
    }

    /// `words` with the ids that this text encoder has for them.
    fn spans(&self, words: &[LearnedWord], additions: Option<&Additions>) -> Result<Vec<Span>> {
        let counts = additions.iter().flat_map(|additions| &additions.words).map(|vectors| vectors.value().dims()[0]);
        let ids = self.encoder.ids_behind(counts);
        let span = |at: &LearnedWord| {
            let ids = ids.get(at.word).ok_or_else(|| Error::Setting(format!("no learned word {}", at.word)))?;
            Ok(Span { range: at.range.clone(), ids: ids.clone() })
        };
        words.iter().map(span).collect()
    }
}

impl BaseModel {
    /// Token ids of one text, in which `words` of `additions` stand.
    pub fn tokenize(&self, text: &str, words: &[LearnedWord], additions: &[Additions]) -> Result<TokenIds> {
        let ids = self.texts.iter().enumerate().map(|(i, model)| model.ids_with(text, words, additions.get(i)));
        ids.collect::<Result<_>>().map(TokenIds)
    }

    /// The weight of each token of the text that `pieces` are side by side (see [`Tokenizer::weights`]).
    pub fn weights(&self, pieces: &[super::Piece], words: &[LearnedWord], additions: &[Additions]) -> Result<Vec<f32>> {
        let first = self.texts.first().ok_or_else(|| Error::Setting("no text encoder".into()))?;
        first.tokenizer.weights(pieces, &first.spans(words, additions.first())?)
    }

    /// What texts tell the UNet, with `additions` in each text encoder; fewer of them leave the others as they are.
    pub fn encode(&self, texts: &TokenIds, additions: &[Additions]) -> Result<Conditioning> {
        let hidden = self.texts.iter().zip(&texts.0).enumerate();
        side_by_side(hidden.map(|(i, (model, ids))| model.encoder.forward(ids, additions.get(i))))
    }

    /// As far as these texts depend on nothing that `additions` bring.
    pub fn begin(&self, texts: &TokenIds, additions: &[Additions]) -> Result<BegunTexts> {
        let nothing = Additions::default();
        let begin = |(i, (model, ids)): (usize, (&TextModel, &Tensor))| {
            model.encoder.begin(ids, additions.get(i).unwrap_or(&nothing))
        };
        self.texts.iter().zip(&texts.0).enumerate().map(begin).collect::<Result<_>>().map(BegunTexts)
    }

    /// What was begun, with `additions` of the same layers and words.
    pub fn finish(&self, begun: &BegunTexts, additions: &[Additions]) -> Result<Conditioning> {
        let nothing = Additions::default();
        let finish = |(i, (model, begun)): (usize, (&TextModel, &Begun))| {
            model.encoder.finish(begun, additions.get(i).unwrap_or(&nothing))
        };
        side_by_side(self.texts.iter().zip(&begun.0).enumerate().map(finish))
    }
}

/// The hidden states of all text encoders as one.
fn side_by_side(hidden: impl Iterator<Item = Result<Tracked>>) -> Result<Conditioning> {
    let mut all: Option<Tracked> = None;
    for hidden in hidden {
        let hidden = hidden?;
        all = Some(match all {
            None => hidden,
            Some(before) => ops::concat_channels(&before, &hidden)?,
        });
    }
    Ok(all.ok_or_else(|| Error::Setting("no text encoder".into()))?.into())
}
