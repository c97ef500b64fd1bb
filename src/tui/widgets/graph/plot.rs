//! Drawing the plot: the axes fitted to what is seen, and the series on them, column by column.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::curve::{Curve, first_from, x_of};
use super::dots::{Dots, Pen};
use super::scale::{Scale, Span, label, x_label, x_ticks};
use super::{Data, Graph, LABELS, Look, Series};
use crate::tui::theme;
use crate::workspace::Point;

/// Points of a curve that are looked at to fit the axis: more would not move it.
const LOOKED_AT: usize = 2000;
/// Points that are drawn in one column of dots, beside the lowest and the highest: more would be a bar.
const DRAWN: usize = 4;

/// One frame of a graph.
pub struct Plot<'a> {
    graph: &'a Graph<'a>,
    area: Rect,
    span: Span,
    left: Scale,
    right: Option<Scale>,
}

impl<'a> Plot<'a> {
    /// The axes of `graph` for what is seen of it in `area`.
    pub fn new(graph: &'a Graph<'a>, area: Rect) -> Self {
        let span = graph.view.visible(graph.whole());
        let scale = |right: bool| {
            let series: Vec<&Series> = graph.series.iter().filter(|series| series.right == right).collect();
            (!series.is_empty()).then(|| fit(&series, span, graph.view.by_time(), graph.view.log && !right))
        };
        let right = scale(true);
        let left = scale(false).or(right).unwrap_or_else(|| Scale::fit(0.0, 1.0, false));
        Self { graph, area, span, left, right }
    }

    /// Draw the axes, the series and the cursor.
    pub fn draw(&self, buffer: &mut Buffer) {
        self.y_axes(buffer);
        self.x_axis(buffer);
        let (mut points, mut lines) = (Dots::new(self.area), Dots::new(self.area));
        let mut broken = Vec::new();
        for series in &self.graph.series {
            if let Data::Curve(curve) | Data::Line(curve) = series.data {
                let columns = self.columns(curve.points());
                if curve.is_smoothed() && matches!(series.data, Data::Curve(_)) {
                    self.points(&mut points, curve, &columns, series);
                }
                self.line(&mut lines, curve, &columns, series);
                broken.extend(columns.windows(2).enumerate().filter_map(|(x, ends)| {
                    (ends[0] < ends[1] && curve.extreme(ends[0], ends[1]).broken).then_some(x as u16 / 2)
                }));
            }
        }
        points.draw(buffer);
        lines.draw(buffer);
        for x in broken {
            buffer.set_string(self.area.x + x, self.area.y, "×", theme::bad());
        }
        self.marks(buffer);
        self.ends(buffer);
        self.cursor(buffer);
    }

    fn by_time(&self) -> bool {
        self.graph.view.by_time()
    }

    fn dots(&self) -> (f64, f64) {
        (f64::from(self.area.width) * 2.0, f64::from(self.area.height) * 4.0)
    }

    /// The column of dots of an x value, which may be outside.
    fn x(&self, x: f64) -> f64 {
        self.span.share(x) * (self.dots().0 - 1.0)
    }

    /// The row of dots of a value, at the nearer end if it is outside.
    fn y(&self, value: f64, right: bool) -> usize {
        let scale = if right { self.right.unwrap_or(self.left) } else { self.left };
        ((1.0 - scale.share(value)) * (self.dots().1 - 1.0)).round() as usize
    }

    /// For each column of dots the first point in it or right of it; one more entry for the end.
    fn columns(&self, points: &[Point]) -> Vec<usize> {
        let width = self.area.width as usize * 2;
        let mut ends = Vec::with_capacity(width + 1);
        for column in 0..=width {
            // A column holds what is rounded to it.
            let left = self.span.at((column as f64 - 0.5) / (width as f64 - 1.0));
            let at = first_from(points, left, self.by_time());
            ends.push(at.max(ends.last().copied().unwrap_or(0)));
        }
        ends
    }

    /// Each point faint; in columns of many, some of them and the extremes.
    fn points(&self, dots: &mut Dots, curve: &Curve, columns: &[usize], series: &Series) {
        dots.begin(series.look.raw);
        for (x, ends) in columns.windows(2).enumerate() {
            let (from, to) = (ends[0], ends[1]);
            let every = (to - from).div_ceil(DRAWN).max(1);
            for point in curve.points()[from..to].iter().step_by(every).filter(|point| point.loss.is_finite()) {
                dots.set(x, self.y(point.loss, series.right));
            }
            if every > 1 {
                let extreme = curve.extreme(from, to);
                if extreme.is_some() {
                    dots.set(x, self.y(extreme.low, series.right));
                    dots.set(x, self.y(extreme.high, series.right));
                }
            }
        }
    }

    /// The smoothed course: through each point where they are few, through the extremes of each column where they are
    /// many.
    fn line(&self, dots: &mut Dots, curve: &Curve, columns: &[usize], series: &Series) {
        dots.begin(series.look.style);
        let mut pen = Pen::new(dots, series.look.pattern);
        let y = |value: f64| self.y(value, series.right);
        let last = columns.len() - 2;
        if let Some(&first) = columns.first()
            && let Some(value) = self.crossing(curve, first, self.span.from)
        {
            pen.go((0, y(value)));
        }
        for (x, ends) in columns.windows(2).enumerate() {
            let (from, to) = (ends[0], ends[1]);
            if from == to {
                continue;
            }
            let extreme = curve.mean_extreme(from, to);
            if !extreme.is_some() {
                continue;
            }
            let (enters, leaves) = (curve.mean(from), curve.mean(to - 1));
            if enters.is_finite() {
                pen.go((x, y(enters)));
            }
            if to - from > 2 {
                // First the extreme that is nearer, so that the line does not go back and forth.
                let (near, far) =
                    if leaves >= enters { (extreme.low, extreme.high) } else { (extreme.high, extreme.low) };
                pen.go((x, y(near)));
                pen.go((x, y(far)));
            }
            if leaves.is_finite() {
                pen.go((x, y(leaves)));
            }
        }
        if let Some(value) = columns.last().and_then(|&end| self.crossing(curve, end, self.span.to)) {
            pen.go((last, y(value)));
        }
    }

    /// The value of the line where it crosses `x`, between the points `i - 1` and `i`.
    fn crossing(&self, curve: &Curve, i: usize, x: f64) -> Option<f64> {
        let before = i.checked_sub(1)?;
        let (left, right) = (curve.points().get(before)?, curve.points().get(i)?);
        let (from, to) = (x_of(left, self.by_time()), x_of(right, self.by_time()));
        let share = if to > from { ((x - from) / (to - from)).clamp(0.0, 1.0) } else { 1.0 };
        let (from, to) = (curve.mean(before), curve.mean(i));
        Some(from + share * (to - from)).filter(|value| value.is_finite())
    }

    /// Marks and intervals, over the lines. No bar of an interval covers a mark; marks in one cell take turns.
    fn marks(&self, buffer: &mut Buffer) {
        let mut marks: BTreeMap<(u16, u16), Vec<(usize, Look)>> = BTreeMap::new();
        let mut mark = |buffer: &mut Buffer, i: usize, point: &Point, series: &Series| {
            let Some((x, y)) = self.cell(point, series.right) else { return };
            if point.loss.is_finite() {
                marks.entry((x, y)).or_default().push((i, series.look));
            } else {
                buffer.set_string(x, self.area.y, "×", theme::bad());
            }
        };
        for series in &self.graph.series {
            match series.data {
                Data::Marks(points) | Data::Above(points, _) => {
                    points.iter().enumerate().for_each(|(i, point)| mark(buffer, i, point, series));
                }
                Data::Intervals(values) => {
                    for (i, value) in values.iter().enumerate() {
                        let Some((x, _)) = self.cell(&value.point, series.right) else { continue };
                        if value.low.is_finite() && value.high.is_finite() {
                            let row = |value: f64| self.area.y + (self.y(value, series.right) / 4) as u16;
                            for y in row(value.high)..=row(value.low) {
                                buffer.set_string(x, y, "│", series.look.style);
                            }
                        }
                        mark(buffer, i, &value.point, series);
                    }
                }
                Data::Curve(_) | Data::Line(_) => {}
            }
        }
        for ((x, y), looks) in marks {
            let i = looks.iter().map(|(i, _)| *i).max().unwrap_or(0);
            let (_, look) = looks[i % looks.len()];
            buffer.set_string(x, y, look.mark, look.style);
        }
    }

    /// Where there are several lines, the mark of each at its end: it tells them apart without colours too.
    fn ends(&self, buffer: &mut Buffer) {
        if !self.graph.has_several_lines() {
            return;
        }
        let mut taken = Vec::new();
        for series in &self.graph.series {
            let (Data::Curve(curve) | Data::Line(curve)) = series.data else { continue };
            let inside = curve.inside(self.span, self.by_time());
            let Some(last) = inside.rev().find(|&i| curve.mean(i).is_finite()) else { continue };
            let point = Point { loss: curve.mean(last), ..curve.points()[last] };
            let Some((x, y)) = self.cell(&point, series.right) else { continue };
            // Lines that end in one cell have their marks above and below each other.
            let rows = (0..self.area.height).flat_map(|away| [y.checked_add(away), y.checked_sub(away)]).flatten();
            let mut rows = rows.filter(|y| (self.area.top()..self.area.bottom()).contains(y));
            if let Some(y) = rows.find(|&y| !taken.contains(&(x, y))) {
                taken.push((x, y));
                buffer.set_string(x, y, series.look.mark, series.look.style);
            }
        }
    }

    /// The cell of a point, if it is seen.
    fn cell(&self, point: &Point, right: bool) -> Option<(u16, u16)> {
        let x = x_of(point, self.by_time());
        let seen = x >= self.span.from && x <= self.span.to;
        seen.then(|| {
            let y = if point.loss.is_finite() { self.y(point.loss, right) / 4 } else { 0 };
            (self.area.x + (self.x(x).round() as u16) / 2, self.area.y + y as u16)
        })
    }

    fn cursor(&self, buffer: &mut Buffer) {
        let Some(at) = self.graph.view.cursor().filter(|&at| at >= self.span.from && at <= self.span.to) else {
            return;
        };
        let x = self.area.x + (self.x(at).round() as u16) / 2;
        for y in self.area.top()..self.area.bottom() {
            let cell = &mut buffer[(x, y)];
            if cell.symbol() == " " {
                cell.set_symbol("┊").set_style(theme::faint());
            }
        }
        for series in &self.graph.series {
            let (Data::Curve(curve) | Data::Line(curve)) = series.data else { continue };
            let points = curve.points();
            let within = points
                .first()
                .zip(points.last())
                .is_some_and(|(first, last)| (x_of(first, self.by_time())..=x_of(last, self.by_time())).contains(&at));
            let value = curve.nearest(at, self.by_time()).filter(|_| within).map(|i| curve.mean(i));
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let y = self.area.y + (self.y(value, series.right) / 4) as u16;
                buffer.set_string(x, y, "○", series.look.style);
            }
        }
    }

    fn y_axes(&self, buffer: &mut Buffer) {
        let Rect { y: top, height, .. } = self.area;
        let (left, right) = (self.area.x - 1, self.area.right());
        for y in top..top + height {
            buffer.set_string(left, y, "│", theme::rule());
            if self.right.is_some() {
                buffer.set_string(right, y, "│", theme::rule());
            }
        }
        let ticks = (height as usize / 3).clamp(2, 6);
        let mut rows = Vec::new();
        for value in self.left.ticks(ticks) {
            let y = top + (self.y(value, false) / 4) as u16;
            // Small areas have one row for two values: the first counts.
            if !rows.contains(&y) {
                rows.push(y);
                buffer.set_string(left, y, "┤", theme::rule());
                let text = tick_label(value);
                buffer.set_string(left - LABELS, y, format!("{text:>4} "), theme::faint());
            }
        }
        for value in self.right.iter().flat_map(|scale| scale.ticks(ticks)) {
            let y = top + (self.y(value, true) / 4) as u16;
            buffer.set_string(right, y, "├", theme::rule());
            buffer.set_string(right + 1, y, tick_label(value), theme::faint());
        }
    }

    fn x_axis(&self, buffer: &mut Buffer) {
        let Rect { x: left, width, .. } = self.area;
        let (rule, right) = (self.area.bottom(), self.area.right());
        let corner = if self.right.is_some() { "┘" } else { "" };
        buffer.set_string(left - 1, rule, format!("└{}{corner}", "─".repeat(width as usize)), theme::rule());
        // More to the left, more to the right.
        let whole = self.graph.whole();
        if self.span.from > whole.from {
            buffer.set_string(left, rule, "◂", theme::accent());
        }
        if self.span.to < whole.to {
            buffer.set_string(right - 1, rule, "▸", theme::accent());
        }
        let ticks = x_ticks(self.span, (width as usize / 12).clamp(2, 10), self.by_time());
        let mut free = left;
        let unit = if self.by_time() { "" } else { " steps" };
        for (i, &value) in ticks.iter().enumerate() {
            let column = left + (self.x(value).round() as u16) / 2;
            let last = i + 1 == ticks.len();
            let mut text = x_label(value, self.by_time());
            let plain = text.len() as u16;
            let with_unit = plain + (unit.len() as u16);
            let fits = column.saturating_sub(plain / 2).max(free) + with_unit <= right
                || free + with_unit <= right && column + 8 >= right;
            if last && fits {
                text.push_str(unit);
            }
            let width = text.len() as u16;
            let start = column.saturating_sub(plain / 2).max(left).min(right.saturating_sub(width));
            if start < free {
                continue;
            }
            buffer.set_string(start, rule + 1, &text, theme::faint());
            if column < right {
                buffer.set_string(column, rule, "┬", theme::rule());
            }
            free = start + width + 2;
        }
    }
}

/// The label of a value of an axis: without the noughts that a measured value keeps.
fn tick_label(value: f64) -> String {
    let text = label(value);
    if text.contains('e') || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The y axis for what is seen of `series`.
///
/// A few wild steps must not flatten the rest: it ends where 98 of 100 steps lie, but cuts no line and no mark.
fn fit(series: &[&Series], span: Span, by_time: bool, log: bool) -> Scale {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut hold = |value: f64| {
        if value.is_finite() && (value > 0.0 || !log) {
            (low, high) = (low.min(value), high.max(value));
        }
    };
    let seen = |x: f64| x >= span.from && x <= span.to;
    for series in series {
        match series.data {
            Data::Curve(curve) | Data::Line(curve) => {
                let inside = curve.inside(span, by_time);
                // The line also where it enters and leaves.
                let line = inside.start.saturating_sub(1)..(inside.end + 1).min(curve.points().len());
                let extreme = curve.mean_extreme(line.start, line.end);
                hold(extreme.low);
                hold(extreme.high);
                if matches!(series.data, Data::Curve(_)) && curve.is_smoothed() {
                    let every = inside.len().div_ceil(LOOKED_AT).max(1);
                    let losses = curve.points()[inside].iter().step_by(every).map(|point| point.loss);
                    let mut losses: Vec<f64> =
                        losses.filter(|loss| loss.is_finite() && (*loss > 0.0 || !log)).collect();
                    if !losses.is_empty() {
                        let end = (0.98 * (losses.len() - 1) as f64) as usize;
                        hold(*losses.select_nth_unstable_by(end, f64::total_cmp).1);
                        let start = if log { (0.02 * (losses.len() - 1) as f64) as usize } else { 0 };
                        hold(*losses.select_nth_unstable_by(start, f64::total_cmp).1);
                    }
                }
            }
            Data::Marks(points) | Data::Above(points, _) => {
                points.iter().filter(|point| seen(x_of(point, by_time))).for_each(|point| hold(point.loss));
            }
            Data::Intervals(values) => {
                for value in values.iter().filter(|value| seen(x_of(&value.point, by_time))) {
                    [value.low, value.point.loss, value.high].into_iter().for_each(&mut hold);
                }
            }
        }
    }
    Scale::fit(low, high, log)
}
