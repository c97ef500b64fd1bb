//! Values over the steps of runs: each step as a faint point, smoothed lines, marks and intervals, of one run or of
//! several over each other, with a cursor that reads them out.
//!
//! | file | holds |
//! |---|---|
//! | `curve` | a value over the steps, kept so that a frame costs its columns and not its points |
//! | `series` | what is shown and how: lines, marks, intervals; the usual ones of a run |
//! | `scale` | axes, their marks and labels |
//! | `dots` | braille lines |
//! | `view` | zoom, cursor, smoothing: what keys and mouse change |
//!
//! A screen keeps a [`GraphView`] and a [`RunCurves`] for each run; after events it calls [`RunCurves::follow`], and for
//! a frame it puts the series of its runs into a [`Graph`].

mod curve;
mod dots;
mod plot;
mod scale;
mod series;
mod view;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span as Text};

use crate::tui::theme;
use crate::workspace::Point;

pub use curve::{Curve, Extreme};
pub use dots::Pattern;
pub use scale::{Span, label, signed, x_label};
pub use series::{Data, Interval, Look, RunCurves, Series};
pub use view::{FAR, GraphView, NEAR};

use curve::{first_from, x_of};
use plot::Plot;

/// Width of the labels of a y axis.
const LABELS: u16 = 5;
/// A name is cut to no fewer characters; rather it is left out.
const SHORTEST: usize = 6;
/// Below this height there is no row for the legend.
const LEGEND_FROM: u16 = 6;

/// What is drawn, and how.
pub struct Graph<'a> {
    /// What is shown; the cursor stands on the points of the first curve.
    pub series: Vec<Series<'a>>,
    /// What part of it is seen.
    pub view: &'a GraphView,
    /// Steps the runs will have: the x axis has room for all of them.
    pub steps: usize,
}

/// Where the parts of a graph are.
#[derive(Debug, Clone, Copy)]
struct Layout {
    legend: Rect,
    plot: Rect,
}

impl Graph<'_> {
    /// The x axis without a zoom.
    pub fn whole(&self) -> Span {
        let by_time = self.view.by_time();
        let last = |points: &[Point]| points.last().map_or(0.0, |point| x_of(point, by_time));
        let ends = self.series.iter().map(|series| match series.data {
            Data::Curve(curve) | Data::Line(curve) => last(curve.points()),
            Data::Marks(points) | Data::Above(points, _) => last(points),
            Data::Intervals(values) => values.last().map_or(0.0, |value| x_of(&value.point, by_time)),
        });
        let to = ends.fold(if by_time { 0.0 } else { self.steps as f64 }, f64::max);
        Span { from: 0.0, to: to.max(1.0) }
    }

    /// The x value at a cell of a graph drawn into `area`, if the cell is one of its plot.
    pub fn x_at(&self, area: Rect, column: u16, row: u16) -> Option<f64> {
        let plot = self.layout(area)?.plot;
        let inside = (plot.left()..plot.right()).contains(&column) && (plot.top()..plot.bottom()).contains(&row);
        let share = (f64::from(column - plot.x.min(column)) + 0.5) / f64::from(plot.width);
        inside.then(|| self.view.visible(self.whole()).at(share))
    }

    fn layout(&self, area: Rect) -> Option<Layout> {
        let right = if self.series.iter().any(|series| series.right) { LABELS + 1 } else { 0 };
        let legend = u16::from(area.height >= LEGEND_FROM);
        if area.width < LABELS + right + 10 || area.height < legend + 4 {
            return None;
        }
        let plot = Rect {
            x: area.x + LABELS + 1,
            y: area.y + legend,
            width: area.width - LABELS - 1 - right,
            height: area.height - legend - 2,
        };
        Some(Layout { legend: Rect { height: legend, ..area }, plot })
    }

    /// Whether lines must be told apart.
    fn has_several_lines(&self) -> bool {
        self.series.iter().filter(|series| matches!(series.data, Data::Curve(_) | Data::Line(_))).count() > 1
    }

    fn is_empty(&self) -> bool {
        self.series.iter().all(|series| match series.data {
            Data::Curve(curve) | Data::Line(curve) => curve.points().is_empty(),
            Data::Marks(points) | Data::Above(points, _) => points.is_empty(),
            Data::Intervals(values) => values.is_empty(),
        })
    }

    /// Draw the graph with its axes and, where there is room, a row with its legend, which is also what the cursor
    /// reads out. Nothing is drawn where nothing could be seen.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect) {
        let area = area.intersection(buffer.area);
        let Some(layout) = self.layout(area) else { return };
        if self.is_empty() {
            let text = "no step yet";
            let x = area.x + area.width.saturating_sub(text.len() as u16) / 2;
            buffer.set_string(x, area.y + area.height / 2, text, theme::faint());
            return;
        }
        Plot::new(self, layout.plot).draw(buffer);
        if layout.legend.height > 0 {
            let line = self.legend(area.width as usize);
            buffer.set_line(layout.legend.x, layout.legend.y, &line, area.width);
        }
    }

    /// The names of the series with their values, at the cursor or the last ones, in `width` columns: names are cut
    /// first, then series without a name are left out.
    fn legend(&self, width: usize) -> Line<'static> {
        let longest = self.series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        let lengths = [(longest, true), (8, true), (longest, false), (SHORTEST, false), (0, false)];
        let tries = lengths.windows(2).flat_map(|ends| {
            let ((most, all), (least, _)) = (ends[0], ends[1]);
            (least..=most.max(least)).rev().map(move |most| (most, all))
        });
        let lines = tries.map(|(most, all)| self.legend_with(most, all));
        lines.reduce(|fits, shorter| if fits.width() <= width { fits } else { shorter }).unwrap_or_default()
    }

    /// The legend with names of at most `most` characters, and with series that have none if `all`.
    fn legend_with(&self, most: usize, all: bool) -> Line<'static> {
        let by_time = self.view.by_time();
        let mut spans = Vec::new();
        if let Some(x) = self.view.cursor() {
            let first = self.series.iter().find_map(|series| match series.data {
                Data::Curve(curve) | Data::Line(curve) => self.view.cursor_point(curve),
                _ => None,
            });
            let text = match first {
                Some(point) if most > 4 => {
                    format!("step {} · {}", point.step, x_label(point.seconds, true))
                }
                Some(point) if !by_time => format!("step {}", point.step),
                _ => x_label(x, by_time),
            };
            spans.push(Text::styled(format!("{text}  "), theme::strong()));
        }
        for series in self.series.iter().filter(|series| all || !series.name.is_empty()) {
            let (sign, mark) = match series.data {
                Data::Curve(_) | Data::Line(_) if self.has_several_lines() => {
                    (series.look.pattern.sign(), series.look.mark)
                }
                Data::Curve(_) | Data::Line(_) => (series.look.pattern.sign(), ""),
                Data::Marks(_) | Data::Above(..) | Data::Intervals(_) => ("", series.look.mark),
            };
            spans.push(Text::styled(format!("{sign}{mark} "), series.look.style));
            let count = series.name.chars().count();
            if count > most && most >= SHORTEST {
                // The ends of names tell runs apart.
                let end: String = series.name.chars().skip(count - most + 1).collect();
                spans.push(Text::styled(format!("…{end} "), theme::faint()));
            } else if count <= most && count > 0 {
                spans.push(Text::styled(format!("{} ", series.name), theme::faint()));
            }
            spans.push(Text::raw(format!("{}  ", self.read_out(series))));
        }
        // The gap after the last entry is none.
        if let Some(last) = spans.last_mut() {
            last.content = last.content.trim_end().to_owned().into();
        }
        Line::from(spans)
    }

    /// The value of `series` at the cursor, or its last one.
    fn read_out(&self, series: &Series) -> String {
        let by_time = self.view.by_time();
        // A run that ended before the cursor has no value there, nor one that began after it.
        let at = |points: &[Point]| match self.view.cursor() {
            None => points.len().checked_sub(1),
            Some(x) => {
                let after = first_from(points, x, by_time);
                if points.get(after).is_some_and(|point| x_of(point, by_time) <= x) {
                    Some(after)
                } else {
                    after.checked_sub(1).filter(|_| after < points.len())
                }
            }
        };
        // Marks are sparse: the last one up to the cursor counts.
        let upto = |points: &[Point]| {
            let count = self.view.cursor().map_or(points.len(), |x| points.partition_point(|p| x_of(p, by_time) <= x));
            count.checked_sub(1).map(|i| points[i])
        };
        let nothing = || "–".to_owned();
        match series.data {
            Data::Curve(curve) | Data::Line(curve) => at(curve.points()).map_or_else(nothing, |i| {
                let raw = curve.points()[i].loss;
                if self.view.cursor().is_some() && matches!(series.data, Data::Curve(_)) && curve.is_smoothed() {
                    format!("{} ({})", label(curve.mean(i)), label(raw))
                } else {
                    label(curve.mean(i))
                }
            }),
            Data::Marks(points) => upto(points).map_or_else(nothing, |point| label(point.loss)),
            Data::Above(points, below) => upto(points).map_or_else(nothing, |point| {
                let below = below.iter().find(|other| other.step == point.step);
                let gap = below.map(|below| format!(" (gap {})", signed(point.loss - below.loss)));
                format!("{}{}", label(point.loss), gap.unwrap_or_default())
            }),
            Data::Intervals(values) => {
                let upto = self
                    .view
                    .cursor()
                    .map_or(values.len(), |x| values.partition_point(|value| x_of(&value.point, by_time) <= x));
                upto.checked_sub(1).map_or_else(nothing, |i| {
                    let value = values[i];
                    format!("{} {}–{}", label(value.point.loss), label(value.low), label(value.high))
                })
            }
        }
    }
}
