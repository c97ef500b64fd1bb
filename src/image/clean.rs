//! Masks without crumbs: the small parts and holes that a threshold leaves.

use ::image::{GrayImage, Luma};

/// `mask` (white above half, black below) without its parts smaller than `smallest` of its largest, and with holes smaller
/// than that filled. Parts touch at edges, holes at corners too.
pub fn clean_mask(mask: &GrayImage, smallest: f64) -> GrayImage {
    clean_parts_and_holes(mask, smallest, smallest)
}

/// The same with another least share for holes: what is seen through a handle is no crumb.
pub fn clean_parts_and_holes(mask: &GrayImage, smallest: f64, smallest_hole: f64) -> GrayImage {
    let (width, height) = mask.dimensions();
    let mut white: Vec<bool> = mask.iter().map(|&value| value >= 128).collect();
    let parts = parts(&white, width as usize, true);
    let Some(largest) = parts.iter().map(Vec::len).max() else { return GrayImage::new(width, height) };
    let (least, least_hole) = (smallest * largest as f64, smallest_hole * largest as f64);
    for part in parts.iter().filter(|part| (part.len() as f64) < least) {
        part.iter().for_each(|&at| white[at] = false);
    }
    let line = width as usize;
    let at_border =
        |at: usize| at < line || at >= white.len() - line || at.is_multiple_of(line) || at % line == line - 1;
    let holes = self::parts(&white, line, false);
    let filled: Vec<usize> = holes
        .into_iter()
        .filter(|hole| (hole.len() as f64) < least_hole && !hole.iter().any(|&at| at_border(at)))
        .flatten()
        .collect();
    filled.into_iter().for_each(|at| white[at] = true);
    let mut cleaned = GrayImage::new(width, height);
    cleaned.pixels_mut().zip(white).for_each(|(pixel, white)| *pixel = Luma([if white { 255 } else { 0 }]));
    cleaned
}

/// The connected pixels of one colour, part by part; white ones by their edges, black ones by their corners too, so that a
/// line of one never crosses a line of the other.
fn parts(white: &[bool], width: usize, colour: bool) -> Vec<Vec<usize>> {
    let height = white.len() / width.max(1);
    let (mut seen, mut parts) = (vec![false; white.len()], Vec::new());
    for start in 0..white.len() {
        if seen[start] || white[start] != colour {
            continue;
        }
        let (mut part, mut next) = (Vec::new(), vec![start]);
        seen[start] = true;
        while let Some(at) = next.pop() {
            part.push(at);
            let (x, y) = (at % width, at / width);
            for (dx, dy) in [(-1_i64, 0_i64), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)] {
                if colour && dx != 0 && dy != 0 {
                    continue;
                }
                let (Some(x), Some(y)) = (x.checked_add_signed(dx as isize), y.checked_add_signed(dy as isize)) else {
                    continue;
                };
                let neighbour = y * width + x;
                if x < width && y < height && !seen[neighbour] && white[neighbour] == colour {
                    seen[neighbour] = true;
                    next.push(neighbour);
                }
            }
        }
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lines: &[&str]) -> GrayImage {
        let size = (lines[0].len() as u32, lines.len() as u32);
        GrayImage::from_fn(size.0, size.1, |x, y| {
            Luma([if lines[y as usize].as_bytes()[x as usize] == b'#' { 255 } else { 0 }])
        })
    }

    #[test]
    fn crumbs_go_and_small_holes_are_filled() {
        let mask = drawn(&[
            "######....", //
            "#.####...#", //
            "######....", //
            "######.##.",
        ]);
        let expected = drawn(&[
            "######....", //
            "######....", //
            "######....", //
            "######....",
        ]);
        assert_eq!(clean_mask(&mask, 0.1), expected);
        assert_eq!(clean_mask(&mask, 0.0), mask, "nothing is smaller than nothing");
    }

    #[test]
    fn what_opens_to_the_border_is_no_hole() {
        let mask = drawn(&[
            "#####", //
            "##.##", //
            "##.##",
        ]);
        assert_eq!(clean_mask(&mask, 0.9), mask);
        assert_eq!(clean_mask(&GrayImage::new(3, 2), 0.1), GrayImage::new(3, 2));
    }
}
