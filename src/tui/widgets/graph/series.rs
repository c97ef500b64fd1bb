//! What a graph shows: lines, marks and intervals, and the usual ones of a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ratatui::style::Style;

use super::curve::Curve;
use super::dots::Pattern;
use super::view::GraphView;
use crate::protocol::Scores;
use crate::tui::theme;
use crate::workspace::{History, Point};

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The value, where it stands.
    pub point: Point,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The values of a series.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// Each point faint, and the smoothed course as a line; unsmoothed, a line through the points.
    Curve(&'a Curve),
    /// The smoothed course alone.
    Line(&'a Curve),
    /// A mark at each point.
    Marks(&'a [Point]),
    /// The same of the first, read out with how far it is above the second at the same step.
    Above(&'a [Point], &'a [Point]),
    /// A mark at each value, and a bar over its interval.
    Intervals(&'a [Interval]),
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Of lines and marks.
    pub style: Style,
    /// Of single points.
    pub raw: Style,
    /// Of lines.
    pub pattern: Pattern,
    /// Of marks.
    pub mark: &'static str,
}

impl Look {
    /// Of the run at `index` among several: they differ by colour, by line and by mark.
    pub fn run(index: usize) -> Self {
        let mark = ["◆", "▲", "■", "●", "▼", "★"][index % 6];
        Self { style: theme::run(index), raw: theme::run_raw(index), pattern: Pattern::of(index), mark }
    }
}

/// One thing in a graph, with a name for the legend.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// What it is.
    pub name: Cow<'a, str>,
    /// Its values.
    pub data: Data<'a>,
    /// How it is drawn.
    pub look: Look,
    /// Its values are on an axis of their own, at the right.
    pub right: bool,
}

/// The names of the four quarters of the timesteps.
const QUARTERS: [&str; 4] = ["t 0–¼", "t ¼–½", "t ½–¾", "t ¾–1"];

/// The curves of a run, kept up with its history.
#[derive(Debug, Clone, Default)]
pub struct RunCurves {
    /// The loss of each step.
    pub loss: Curve,
    /// The loss by quarter of the timesteps.
    pub quarters: [Curve; 4],
    fixed_noise: Vec<Point>,
    held_out: Vec<Point>,
    /// Masked CLIP-I of the checkpoints.
    scores: Vec<Interval>,
}

impl RunCurves {
    /// Take in what is new in `history`, and smooth as `view` says for runs of `steps` steps.
    pub fn follow(&mut self, history: &History, view: &GraphView, steps: usize) {
        self.loss.follow(&history.losses);
        for (curve, points) in self.quarters.iter_mut().zip(&history.quarters) {
            curve.follow(points);
        }
        self.fixed_noise.clone_from(&history.fixed_noise);
        self.held_out.clone_from(&history.held_out);
        self.smooth(view, steps);
    }

    /// Take in what was measured of checkpoints, by their steps.
    pub fn follow_scores(&mut self, scores: &BTreeMap<usize, Scores>) {
        let losses = self.loss.points();
        let interval = |(&step, scores): (&usize, &Scores)| {
            let at = losses.partition_point(|point| point.step < step);
            let seconds = losses.get(at).or(losses.last()).map_or(0.0, |point| point.seconds);
            let score = &scores.masked_clip_i;
            Interval { point: Point { step, seconds, loss: score.value }, low: score.low, high: score.high }
        };
        self.scores = scores.iter().map(interval).collect();
    }

    /// Smooth as `view` says for runs of `steps` steps.
    pub fn smooth(&mut self, view: &GraphView, steps: usize) {
        let window = view.smoothing(steps);
        self.loss.smooth(window);
        self.quarters.iter_mut().for_each(|curve| curve.smooth(window));
    }

    /// What a graph of this run alone shows: the loss, the loss at fixed noise, the loss of the photo held out with the gap between
    /// the two, and the scores of its checkpoints; or the quarters.
    pub fn series(&self, view: &GraphView) -> Vec<Series<'_>> {
        if view.quarters {
            let lines = QUARTERS.iter().zip(&self.quarters).enumerate();
            return lines
                .map(|(i, (name, curve))| Series {
                    name: (*name).into(),
                    data: Data::Line(curve),
                    look: Look::run(i),
                    right: false,
                })
                .collect();
        }
        let fixed_noise = Look { style: theme::second(), ..Look::run(0) };
        let held_out = Look { style: theme::run(3), ..Look::run(1) };
        let mut series =
            vec![Series { name: "loss".into(), data: Data::Curve(&self.loss), look: Look::run(0), right: false }];
        if !self.fixed_noise.is_empty() {
            let data = Data::Marks(&self.fixed_noise);
            series.push(Series { name: "fixed noise".into(), data, look: fixed_noise, right: false });
        }
        if !self.held_out.is_empty() {
            let data = Data::Above(&self.held_out, &self.fixed_noise);
            series.push(Series { name: "held out".into(), data, look: held_out, right: false });
        }
        if !self.scores.is_empty() {
            let data = Data::Intervals(&self.scores);
            series.push(Series { name: "masked CLIP-I".into(), data, look: Look::run(2), right: true });
        }
        series
    }

    /// What a graph of several runs shows of this one, which is at `index` among them: the smoothed course alone, for their
    /// single steps would lie over each other.
    pub fn series_among<'a>(&'a self, index: usize, name: &'a str, view: &GraphView) -> Vec<Series<'a>> {
        let look = Look::run(index);
        if view.quarters {
            // Lines of a run have its style; which quarter one is, is told by its height: noisier is harder.
            let lines = self.quarters.iter().enumerate();
            return lines
                .map(|(i, curve)| Series {
                    name: format!("{name} {}", QUARTERS[i]).into(),
                    data: Data::Line(curve),
                    look,
                    right: false,
                })
                .collect();
        }
        let mut series = vec![Series { name: name.into(), data: Data::Line(&self.loss), look, right: false }];
        if !self.fixed_noise.is_empty() {
            series.push(Series { name: "".into(), data: Data::Marks(&self.fixed_noise), look, right: false });
        }
        series
    }
}
