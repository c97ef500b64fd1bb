//! Masks from where the denoiser looks at the class word: its cross-attention maps (as in DAAM, Tang et al. 2022, arXiv
//! 2210.04885), of a picture that is being made or of a photo noised to a few timesteps.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use image::{GrayImage, Luma};

use super::error::Result;
use super::unet::{AttentionMaps, UNetOptions};
use super::{BaseModel, Noise, Stream};

/// A photo to look at.
pub struct Looking<'a> {
    /// What the denoiser reads, [1, T, D].
    pub context: &'a Tensor,
    /// The token positions that are followed.
    pub positions: &'a [usize],
    /// The timesteps that the photo is noised to.
    pub timesteps: &'a [usize],
    /// Draws of noise at each.
    pub draws: usize,
    /// Of the noise.
    pub seed: u64,
}

/// Where the denoiser looks at the followed tokens in the picture of `latents` [1, C, h, w]: a map [h', w'] in 0 to 1.
/// `progress` is told (looks taken, all) and may break off; then the result is none.
pub fn look(
    model: &BaseModel,
    latents: &Tensor,
    job: &Looking<'_>,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Tensor>> {
    let device = model.compute.device();
    let latents = latents.to_device(device)?;
    let mut attention = Attention::new(1);
    let total = job.timesteps.len() * job.draws;
    for look in 0..total {
        let timestep = [job.timesteps[look / job.draws] as u32];
        let noise = Noise::new(job.seed, Stream::Look, look as u64).normal(latents.dims())?.to_device(device)?;
        let noisy = model.schedule.add_noise(&latents, &noise, &timestep)?;
        let maps = AttentionMaps::new(vec![job.positions.to_vec()]);
        let maps = model.compute.run(|| {
            let options = UNetOptions { maps: Some(&maps), ..UNetOptions::default() };
            model.unet.forward(&noisy, &timestep, &job.context.into(), options)?;
            Ok::<_, super::Error>(maps)
        })?;
        attention.add(maps)?;
        if progress(look + 1, total).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(attention.combine()?.get(0)?))
}

/// Where each picture looked at its followed tokens, layer by layer, summed over the steps.
pub(super) struct Attention {
    /// Pictures.
    batch: usize,
    /// Height and width of the largest maps, which all are brought to.
    size: (usize, usize),
    /// [B, h, w] of every cross-attention.
    layers: Vec<Vec<f32>>,
}

impl Attention {
    pub fn new(batch: usize) -> Self {
        Self { batch, size: (1, 1), layers: Vec::new() }
    }

    /// Add the maps of one step.
    pub fn add(&mut self, maps: AttentionMaps) -> Result<()> {
        let maps = maps.into_maps();
        if self.layers.is_empty() {
            self.size = maps.iter().map(|(h, w, _)| (*h, *w)).max().unwrap_or((1, 1));
            self.layers = vec![vec![0f32; self.batch * self.size.0 * self.size.1]; maps.len()];
        }
        // One copy from the device, however many layers there are.
        let all = maps.iter().map(|(.., map)| map.flatten_all()).collect::<candle_core::Result<Vec<_>>>()?;
        let numbers = if all.is_empty() { Vec::new() } else { Tensor::cat(&all, 0)?.to_vec1::<f32>()? };
        let mut rest = numbers.as_slice();
        for ((h, w, map), layer) in maps.iter().zip(&mut self.layers) {
            let (own, after) = rest.split_at(map.elem_count());
            rest = after;
            for (row, sum) in own.chunks_exact(h * w).zip(layer.chunks_exact_mut(self.size.0 * self.size.1)) {
                sum.iter_mut().zip(resize_bilinear(row, (*h, *w), self.size)).for_each(|(s, x)| *s += x);
            }
        }
        Ok(())
    }

    /// One map a picture, [B, h, w] in 0 to 1: of all layers, the quarter whose maps fall most clearly into two classes
    /// (Otsu's separability), averaged. DAAM (Tang et al. 2022, arXiv 2210.04885) averages all layers; but most see the
    /// concept only dimly, and which do differs from model to model.
    pub fn combine(&self) -> Result<Tensor> {
        let (height, width) = self.size;
        let mut combined = vec![0f32; self.batch * height * width];
        for (b, combined) in combined.chunks_exact_mut(height * width).enumerate() {
            let of_picture = b * height * width..(b + 1) * height * width;
            let maps = self.layers.iter().filter_map(|layer| stretch(&layer[of_picture.clone()]));
            let mut ranked: Vec<(f64, Vec<f32>)> = maps.map(|map| (otsu(&levels(&map)).1, map)).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            ranked.truncate(self.layers.len().div_ceil(4));
            for (_, map) in &ranked {
                combined.iter_mut().zip(map).for_each(|(c, x)| *c += x / ranked.len() as f32);
            }
        }
        Ok(Tensor::from_vec(combined, (self.batch, height, width), &Device::Cpu)?)
    }
}

/// A map stretched to 0 to 1; none without contrast.
fn stretch(map: &[f32]) -> Option<Vec<f32>> {
    let (low, high) = map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let range = high - low;
    (range.is_finite() && range > f32::EPSILON * high.abs()).then(|| map.iter().map(|x| (x - low) / range).collect())
}

/// 0 to 1 as whole numbers.
fn levels(map: &[f32]) -> Vec<u8> {
    map.iter().map(|x| (x * 255.0) as u8).collect()
}

/// The map `from` of the height and width `(h, w)`, line by line, at another height and width: bilinear, with pixel centres at
/// half units.
pub fn resize_bilinear(from: &[f32], (h, w): (usize, usize), (height, width): (usize, usize)) -> Vec<f32> {
    let at = |i: usize, n: usize, of: usize| {
        let x = ((i as f32 + 0.5) * n as f32 / of as f32 - 0.5).clamp(0.0, (n - 1) as f32);
        let low = x.floor() as usize;
        (low, (low + 1).min(n - 1), x - x.floor())
    };
    (0..height * width)
        .map(|i| {
            let (y0, y1, fy) = at(i / width, h, height);
            let (x0, x1, fx) = at(i % width, w, width);
            let row = |y: usize| from[y * w + x0] * (1.0 - fx) + from[y * w + x1] * fx;
            row(y0) * (1.0 - fy) + row(y1) * fy
        })
        .collect()
}

/// The mask of one picture: its attention map [h, w], enlarged to `size` (width, height) pixels and cut at `threshold`, or
/// without one where the two classes, concept and rest, are best apart (Otsu 1979). A map without contrast gives an empty mask.
pub fn attention_mask(map: &Tensor, size: (u32, u32), threshold: Option<f64>) -> Result<GrayImage> {
    let (h, w) = map.dims2()?;
    let mut mask = GrayImage::new(size.0, size.1);
    let map = resize_bilinear(&map.flatten_all()?.to_vec1::<f32>()?, (h, w), (size.1 as usize, size.0 as usize));
    let Some(map) = stretch(&map) else { return Ok(mask) };
    let levels = levels(&map);
    let threshold = threshold.map_or_else(|| otsu(&levels).0, |threshold| (threshold * 255.0) as u8);
    for (pixel, &level) in mask.pixels_mut().zip(&levels) {
        *pixel = Luma([if level > threshold { 255 } else { 0 }]);
    }
    Ok(mask)
}

/// The level that maximises the variance between what lies above it and the rest, and which share of all variance that is.
fn otsu(levels: &[u8]) -> (u8, f64) {
    let mut histogram = [0f64; 256];
    levels.iter().for_each(|&l| histogram[usize::from(l)] += 1.0);
    let total = levels.len() as f64;
    let total_sum: f64 = histogram.iter().enumerate().map(|(l, n)| l as f64 * n).sum();
    let (mut below, mut below_sum, mut best, mut threshold) = (0.0, 0.0, -1.0, 0);
    for (level, n) in histogram.iter().enumerate().take(255) {
        below += n;
        below_sum += level as f64 * n;
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let apart = below_sum / below - (total_sum - below_sum) / above;
        let variance = below * above * apart * apart;
        if variance > best {
            (best, threshold) = (variance, level as u8);
        }
    }
    let squares: f64 = histogram.iter().enumerate().map(|(l, n)| (l * l) as f64 * n).sum();
    let all = squares * total - total_sum * total_sum;
    (threshold, if all > 0.0 { best / all } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Attention, attention_mask};

    #[test]
    fn the_layers_that_see_a_shape_make_the_map() {
        let noisy = |seed: usize| (0..64).map(|i| ((i * 37 + seed * 11) % 64) as f32 / 64.0).collect::<Vec<_>>();
        let mut square = vec![0.1f32; 64];
        for y in 2..6 {
            square[y * 8 + 3..y * 8 + 7].fill(0.2);
        }
        let attention =
            Attention { batch: 1, size: (8, 8), layers: vec![noisy(1), noisy(2), square.clone(), vec![0.5; 64]] };
        let map = attention.combine().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let shape = square.iter().map(|s| f32::from(u8::from(*s > 0.15)));
        assert_eq!(map, shape.collect::<Vec<_>>());
    }

    #[test]
    fn a_bright_square_becomes_its_mask() {
        let mut map = vec![0.1f32; 64];
        for y in 2..6 {
            for x in 3..7 {
                map[y * 8 + x] = 0.8;
            }
        }
        let mask = attention_mask(&Tensor::from_vec(map, (8, 8), &Device::Cpu).unwrap(), (64, 64), None).unwrap();
        assert_eq!(mask.get_pixel(40, 32).0, [255]);
        assert_eq!(mask.get_pixel(8, 8).0, [0]);
        let share = mask.pixels().filter(|p| p.0[0] > 0).count() as f64 / 4096.0;
        assert!((share - 0.25).abs() < 0.08, "{share}");
    }

    #[test]
    fn a_flat_map_gives_an_empty_mask() {
        let mask = attention_mask(&Tensor::full(0.3f32, (8, 8), &Device::Cpu).unwrap(), (16, 16), None).unwrap();
        assert!(mask.pixels().all(|p| p.0[0] == 0));
    }
}
