//! Maps: a number for each place of a picture, line by line.

/// The map `from` of the height and width `(h, w)` at another height and width: bilinear, with pixel centres at half units.
pub fn resize_map(from: &[f32], (h, w): (usize, usize), (height, width): (usize, usize)) -> Vec<f32> {
    let at = |i: usize, n: usize, of: usize| {
        let x = ((i as f32 + 0.5) * n as f32 / of as f32 - 0.5).clamp(0.0, (n - 1) as f32);
        let low = x.floor() as usize;
        (low, (low + 1).min(n - 1), x - x.floor())
    };
    let columns: Vec<_> = (0..width).map(|x| at(x, w, width)).collect();
    let mut resized = Vec::with_capacity(height * width);
    for y in 0..height {
        let (y0, y1, fy) = at(y, h, height);
        let (above, below) = (&from[y0 * w..(y0 + 1) * w], &from[y1 * w..(y1 + 1) * w]);
        resized.extend(columns.iter().map(|&(x0, x1, fx)| {
            let row = |line: &[f32]| line[x0] * (1.0 - fx) + line[x1] * fx;
            row(above) * (1.0 - fy) + row(below) * fy
        }));
    }
    resized
}

/// A map stretched to 0 to 1; none without contrast, or with something that is no number.
pub fn stretch(map: &[f32]) -> Option<Vec<f32>> {
    let (low, high) = map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let range = high - low;
    let numbers = map.iter().all(|x| x.is_finite());
    (numbers && range > f32::EPSILON * high.abs()).then(|| map.iter().map(|x| (x - low) / range).collect())
}

/// Where a map of 0 to 1 falls most clearly into two classes (Otsu 1979): the value between them, of 256, and which share of all
/// variance lies between the classes, 0 to 1.
pub fn otsu(map: &[f32]) -> (f32, f64) {
    let mut histogram = [0f64; 256];
    map.iter().for_each(|x| histogram[usize::from((x * 255.0) as u8)] += 1.0);
    let total = map.len() as f64;
    let total_sum: f64 = histogram.iter().enumerate().map(|(level, n)| level as f64 * n).sum();
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
            (best, threshold) = (variance, level);
        }
    }
    let squares: f64 = histogram.iter().enumerate().map(|(level, n)| (level * level) as f64 * n).sum();
    let all = squares * total - total_sum * total_sum;
    ((threshold as f32 + 1.0) / 255.0, if all > 0.0 { best / all } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_levels_are_told_apart_between_them() {
        let map: Vec<f32> = (0..100).map(|i| if i < 30 { 0.8 } else { 0.1 }).collect();
        let (threshold, separability) = otsu(&map);
        assert!(threshold > 0.1 && threshold < 0.8, "{threshold}");
        assert!(separability > 0.999, "{separability}");
        assert!(otsu(&[0.5; 9]).1.abs() < 1e-12, "one level");
    }

    #[test]
    fn a_flat_map_has_nothing_to_stretch() {
        assert_eq!(stretch(&[0.3; 4]), None);
        assert_eq!(stretch(&[0.0, f32::NAN]), None);
        assert_eq!(stretch(&[1.0, 3.0, 2.0]), Some(vec![0.0, 1.0, 0.5]));
    }

    #[test]
    fn a_map_keeps_its_middle_when_enlarged() {
        let large = resize_map(&[0.0, 1.0], (1, 2), (2, 4));
        assert_eq!(large, [0.0, 0.25, 0.75, 1.0, 0.0, 0.25, 0.75, 1.0]);
    }
}
