//! The loss over steps: each step as a faint point, a smoothed line, and the validation loss as marks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::tui::theme;
use crate::workspace::{History, Point};

/// What of a history is drawn, and how.
pub struct Graph<'a> {
    /// The run.
    pub history: &'a History,
    /// Logarithmic loss axis.
    pub log: bool,
    /// The step under the cursor.
    pub cursor: Option<usize>,
}

/// Width of the labels of the loss axis.
const LABELS: u16 = 6;

/// An exponential mean over about `window` steps, without the pull to the first value that a plain one has.
pub fn smoothed(points: &[Point], window: f64) -> Vec<Point> {
    let keep = 1.0 - 2.0 / (window + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|point| {
            sum = keep * sum + (1.0 - keep) * point.loss;
            weight = keep * weight + (1.0 - keep);
            Point { step: point.step, loss: sum / weight }
        })
        .collect()
}

/// Steps the smoothing looks over.
pub fn window(history: &History) -> f64 {
    (history.steps as f64 / 20.0).clamp(5.0, 50.0)
}

/// Dots of one colour: 2 × 4 a cell.
struct Dots {
    area: Rect,
    cells: Vec<u8>,
}

impl Dots {
    fn new(area: Rect) -> Self {
        Self { area, cells: vec![0; area.width as usize * area.height as usize] }
    }

    fn set(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if let Some(cell) = self.cells.get_mut(y / 4 * self.area.width as usize + x / 2) {
            *cell |= BITS[y % 4][x % 2];
        }
    }

    fn draw(&self, buffer: &mut Buffer, style: Style) {
        for (position, &bits) in self.area.positions().zip(&self.cells) {
            if bits > 0 {
                let symbol = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
                buffer[position].set_char(symbol).set_style(style);
            }
        }
    }
}

/// From losses to dots.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    steps: f64,
    width: f64,
    height: f64,
}

impl Scale {
    fn x(&self, step: usize) -> usize {
        ((step as f64 - 1.0) / (self.steps - 1.0).max(1.0) * (self.width - 1.0)).round() as usize
    }

    fn y(&self, loss: f64) -> usize {
        let of = |value: f64| if self.log { value.max(1e-12).ln() } else { value };
        let share = (of(loss) - of(self.low)) / (of(self.high) - of(self.low)).max(1e-12);
        ((1.0 - share.clamp(0.0, 1.0)) * (self.height - 1.0)).round() as usize
    }
}

impl Graph<'_> {
    /// Draw the graph with its axes, and under it the loss by quarter of the timesteps where there is room.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect) {
        if area.width < LABELS + 10 || area.height < 4 {
            return;
        }
        let quarters = u16::from(area.height >= 7);
        let plot = Rect {
            x: area.x + LABELS + 1,
            y: area.y,
            width: area.width - LABELS - 1,
            height: area.height - 2 - quarters,
        };
        let points = &self.history.losses;
        if points.is_empty() {
            let text = "no step yet";
            buffer.set_string(
                area.x + area.width.saturating_sub(text.len() as u16) / 2,
                area.y + area.height / 2,
                text,
                theme::FAINT,
            );
            return;
        }
        let line = smoothed(points, window(self.history));
        let scale = self.scale(plot, &line);
        self.axes(buffer, plot, &scale);

        let mut raw = Dots::new(plot);
        for point in points {
            raw.set(scale.x(point.step), scale.y(point.loss));
        }
        raw.draw(buffer, theme::RAW);

        let mut bright = Dots::new(plot);
        let mut last: Option<(usize, usize)> = None;
        for point in &line {
            let (x, y) = (scale.x(point.step), scale.y(point.loss));
            let (from_x, from_y) = last.unwrap_or((x, y));
            let length = x.abs_diff(from_x).max(y.abs_diff(from_y)).max(1);
            for i in 0..=length {
                let between = |from: usize, to: usize| {
                    (from as f64 + (to as f64 - from as f64) * i as f64 / length as f64).round() as usize
                };
                bright.set(between(from_x, x), between(from_y, y));
            }
            last = Some((x, y));
        }
        bright.draw(buffer, theme::ACCENT);

        for point in &self.history.validation {
            let (x, y) = (scale.x(point.step) / 2, scale.y(point.loss) / 4);
            buffer.set_string(plot.x + x as u16, plot.y + y as u16, "◆", theme::SECOND);
        }
        if let Some(step) = self.cursor {
            let x = plot.x + (scale.x(step) / 2) as u16;
            for y in plot.top()..plot.bottom() {
                let cell = &mut buffer[(x, y)];
                if cell.symbol() == " " {
                    cell.set_symbol("┊").set_style(theme::FAINT);
                }
            }
        }
        if quarters > 0 {
            let line = self.quarters(area.width);
            buffer.set_line(area.x, area.bottom() - 1, &line, area.width);
        }
    }

    fn scale(&self, plot: Rect, line: &[Point]) -> Scale {
        // A few wild steps must not flatten the rest: the axis ends where 98 of 100 steps lie, and never cuts the line.
        let mut losses: Vec<f64> =
            self.history.losses.iter().map(|point| point.loss).filter(|l| l.is_finite()).collect();
        losses.sort_by(f64::total_cmp);
        let at = |share: f64| losses.get((share * losses.len().saturating_sub(1) as f64) as usize).copied();
        let others = line.iter().chain(&self.history.validation).map(|point| point.loss);
        let low = others.clone().fold(at(0.0).unwrap_or(0.0), f64::min);
        let high = others.fold(at(0.98).unwrap_or(1.0), f64::max);
        // Linear axes start at 0, so that heights can be compared.
        let low = if self.log { low.max(1e-6) } else { 0.0 };
        let high = if high > low { high } else { low + 1.0 };
        let high = if self.log { high } else { nice(high) };
        Scale {
            low,
            high,
            log: self.log,
            steps: self.history.steps.max(2) as f64,
            width: f64::from(plot.width) * 2.0,
            height: f64::from(plot.height) * 4.0,
        }
    }

    fn axes(&self, buffer: &mut Buffer, plot: Rect, scale: &Scale) {
        let x = plot.x - 1;
        for y in plot.top()..plot.bottom() {
            buffer.set_string(x, y, "│", theme::RULE);
        }
        buffer.set_string(x, plot.bottom(), format!("└{}", "─".repeat(plot.width as usize)), theme::RULE);
        let ticks = (plot.height / 4).clamp(1, 4);
        for tick in 0..=ticks {
            let share = f64::from(tick) / f64::from(ticks);
            let value = if scale.log {
                (scale.low.ln() + share * (scale.high / scale.low).ln()).exp()
            } else {
                scale.low + share * (scale.high - scale.low)
            };
            let y = plot.y + (scale.y(value) / 4) as u16;
            buffer.set_string(x, y, "┤", theme::RULE);
            buffer.set_string(x - LABELS, y, format!("{:>5} ", label(value)), theme::FAINT);
        }
        let steps = self.history.steps;
        let y = plot.bottom() + 1;
        let shares: &[f64] = if plot.width >= 60 { &[0.25, 0.5, 0.75, 1.0] } else { &[0.5, 1.0] };
        buffer.set_string(plot.x, y, "1", theme::FAINT);
        for &share in shares {
            let step = (share * steps as f64).round() as usize;
            let column = plot.x + (scale.x(step.max(1)) / 2) as u16;
            let text = if share >= 1.0 { format!("{step} steps") } else { step.to_string() };
            let width = text.len() as u16;
            let start = if share >= 1.0 { plot.right() - width.min(plot.width) } else { column - width / 2 };
            buffer.set_string(start, y, text, theme::FAINT);
            if column < plot.right() {
                buffer.set_string(column, plot.bottom(), "┬", theme::RULE);
            }
        }
    }

    /// Loss at random timesteps is noise; by quarter of the timestep range it is less so.
    fn quarters(&self, width: u16) -> Line<'static> {
        let wide = width >= 76;
        let mut spans = Vec::new();
        if wide {
            spans.push(Span::styled(" by timestep  ", theme::FAINT));
        }
        for (name, points) in ["0–¼", "¼–½", "½–¾", "¾–1"].iter().zip(&self.history.quarters) {
            let mean = |points: &[Point]| points.iter().map(|p| p.loss).sum::<f64>() / points.len() as f64;
            let lately = &points[points.len().saturating_sub(25)..];
            let value = if lately.is_empty() { "-".into() } else { label(mean(lately)) };
            spans.push(Span::styled(format!("{name} "), theme::FAINT));
            spans.push(Span::raw(format!("{value:<4} ")));
            if wide {
                spans.push(Span::styled(sparkline(points, (width as usize - 15) / 4 - 13), theme::ACCENT));
                spans.push(Span::raw("  "));
            }
        }
        Line::from(spans)
    }
}

/// The course of `points` in `width` cells, each the mean of its share.
fn sparkline(points: &[Point], width: usize) -> String {
    let width = width.clamp(2, 16);
    let share = points.len().div_ceil(width).max(1);
    let means: Vec<f64> =
        points.chunks(share).map(|chunk| chunk.iter().map(|p| p.loss).sum::<f64>() / chunk.len() as f64).collect();
    let high = means.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar =
        |mean: &f64| ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][((mean / high) * 7.0).clamp(0.0, 7.0).round() as usize];
    let drawn: String = means.iter().map(bar).collect();
    format!("{drawn:<width$}")
}

/// The next 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 4.8, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|&step| step >= value).unwrap_or(10.0 * power)
}

/// A loss in four characters where it goes.
pub fn label(value: f64) -> String {
    match value {
        v if !v.is_finite() => "nan".into(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        0.0 => "0".into(),
        v if v < 0.0001 => format!("{v:.0e}"),
        v if v < 0.01 => format!("{v:.4}")[1..].to_owned(),
        v => format!("{v:.3}")[1..].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_starts_at_the_first_value_and_follows() {
        let points: Vec<Point> =
            (1..=100).map(|step| Point { step, loss: if step <= 50 { 1.0 } else { 0.0 } }).collect();
        let line = smoothed(&points, 10.0);
        assert!((line[0].loss - 1.0).abs() < 1e-9 && (line[49].loss - 1.0).abs() < 1e-9);
        assert!(line[50].loss < 1.0 && line[99].loss < 0.01);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 0.0042, 0.0412, 0.5, 1.0, 12.3].map(label), ["0", ".0042", ".041", ".500", "1.00", "12.3"]);
    }
}
