//! The residual embeddings: for each concatenated layer n rows of keys k* and n of values v* (section 3.2 of the paper). In the order of
//! the authors' files: for each layer, bottom up, its keys [n, D], then its values [n, D], named `text_encoder.layers.9.key` and so on.

use candle_core::{DType, Tensor};

use super::Settings;
use crate::diffusion::{Additions, BaseModel, Noise, PrefixLayer, Stream, TextModel, Tracked};
use crate::method::{Task, part_and_rest};
use crate::personalize::{Caption, Error, Learned, Result};
use crate::protocol::SettingError;

/// How far rows after the first start from the class word's own, in root mean squares of it.
const OTHER_ROWS: f32 = 0.1;

/// The name of the rows of `side`, `key` or `value`, of a layer of the text encoder `part`.
pub(super) fn name(part: &str, layer: usize, side: &str) -> String {
    format!("{part}.layers.{layer}.{side}")
}

/// The part, layer and side that a name says.
fn place(name: &str) -> Option<(&str, usize, &str)> {
    let (part, rest) = part_and_rest(name)?;
    let (layer, side) = rest.strip_prefix("layers.")?.split_once('.')?;
    ["key", "value"].contains(&side).then_some(())?;
    Some((part, layer.parse().ok()?, side))
}

/// A standard normal draw, as in the authors' code.
pub(super) fn of_normal_draw(task: &Task<'_>, settings: &Settings) -> Result<Learned> {
    let mut noise = Noise::new(task.config.seed, Stream::Init, 0);
    rows(task, settings, &mut |text, _, _| Ok(noise.normal(&[settings.prefix_length, text.encoder.hidden_size()])?))
}

/// The class word's own keys and values: of its last token in the caption, in every layer. Rows after the first differ
/// from it by a small normal draw: equal rows would get equal gradients and stay equal for ever.
pub(super) fn of_class_word(task: &Task<'_>, settings: &Settings) -> Result<Learned> {
    let caption = Caption::of(&task.config.caption, task.class_word, false).text;
    let Some(&position) = task.model.tokenizer().positions_of(&caption, task.class_word)?.last() else {
        let cause = format!("does not contain the class word \"{}\", where the embeddings start", task.class_word);
        return Err(SettingError::new("caption", format!("\"{caption}\""), cause).into());
    };
    let mut noise = Noise::new(task.config.seed, Stream::Init, 0);
    let mut of_layer: Option<(usize, (Tensor, Tensor))> = None;
    rows(task, settings, &mut |text, layer, side| {
        let known = of_layer.take().filter(|(known, _)| *known == layer).map(|(_, all)| all);
        let (keys, values) = match known {
            Some(all) => all,
            None => text.encoder.keys_and_values(layer, &text.ids(&caption)?)?,
        };
        let all = if side == "key" { &keys } else { &values };
        let own: Vec<f32> = all.get(position)?.to_dtype(DType::F32)?.to_vec1()?;
        let width = own.len();
        let size = (own.iter().map(|x| x * x).sum::<f32>() / width as f32).sqrt();
        let mut numbers = own.clone();
        for _ in 1..settings.prefix_length {
            let draw: Vec<f32> = noise.normal(&[width])?.to_vec1()?;
            numbers.extend(own.iter().zip(draw).map(|(own, draw)| own + OTHER_ROWS * size * draw));
        }
        of_layer = Some((layer, (keys, values)));
        Ok(Tensor::from_vec(numbers, (settings.prefix_length, width), &candle_core::Device::Cpu)?)
    })
}

/// The rows of each side of each layer, as `of` gives them.
fn rows(
    task: &Task<'_>,
    settings: &Settings,
    of: &mut dyn FnMut(&TextModel, usize, &str) -> Result<Tensor>,
) -> Result<Learned> {
    let mut tensors = Vec::new();
    for text in &task.model.texts {
        for layer in settings.concatenated(text.encoder.num_layers())? {
            for side in ["key", "value"] {
                tensors.push((name(&text.name, layer, side), of(text, layer, side)?));
            }
        }
    }
    Learned::new(&tensors)
}

/// The rows in each text encoder, with `bias` added to their logits.
pub(super) fn enter(model: &BaseModel, tensors: &[(String, Tracked)], bias: f32) -> Result<Vec<Additions>> {
    let mut additions = vec![Additions::default(); model.texts.len()];
    // Checked when they were read: keys and values of each layer one after the other.
    for (name, key, value) in tensors.chunks_exact(2).map(|pair| (&pair[0].0, &pair[0].1, &pair[1].1)) {
        let found = place(name)
            .and_then(|(part, layer, _)| Some((model.texts.iter().position(|text| text.name == part)?, layer)));
        let missing = || crate::diffusion::Error::Setting(format!("{name}: the base model has no such text encoder"));
        let (encoder, layer) = found.ok_or_else(missing).map_err(Error::from)?;
        additions[encoder].rows.push(PrefixLayer { layer, key: key.clone(), value: value.clone(), bias });
    }
    Ok(additions)
}

/// Refuse names and shapes of something else.
pub(super) fn check(shapes: &[(String, Vec<usize>)]) -> Result<(), String> {
    let mut first: Option<&Vec<usize>> = None;
    for (i, (name, shape)) in shapes.iter().enumerate() {
        let side = ["key", "value"][i % 2];
        if place(name).is_none_or(|(.., own)| own != side) {
            return Err(format!("tensor {name} is no {side} of a layer"));
        }
        if shape.len() != 2 || first.get_or_insert(shape) != &shape {
            return Err(format!("tensor {name} is {shape:?}, the first one is {first:?}"));
        }
    }
    if shapes.len().is_multiple_of(2) { Ok(()) } else { Err("has keys without values".into()) }
}

/// The layers of what was learned, its rows a layer and its width, for files that hold the rows of one text encoder.
pub(super) fn sizes(learned: &Learned) -> (Vec<usize>, usize, usize) {
    let layers = learned.shapes().iter().step_by(2).filter_map(|(name, _)| Some(place(name)?.1));
    let shape = learned.shapes().first().map_or(&[0, 0][..], |(_, shape)| shape.as_slice());
    (layers.collect(), shape[0], shape.get(1).copied().unwrap_or(0))
}
