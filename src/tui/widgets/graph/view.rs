//! What part of a graph is seen, and how: the state that keys and the mouse change.

use super::curve::{Curve, x_of};
use super::scale::Span;
use crate::workspace::{HomeSettings, Point, XAxis};

/// The window of each strength of smoothing, as a multiple of the usual one; the first is none.
const STRENGTHS: [f64; 5] = [0.0, 0.25, 1.0, 4.0, 16.0];
/// The usual strength.
const USUAL: usize = 2;
/// How much a zoom shows of what was seen.
const ZOOM: f64 = 0.5;
/// The least part of the whole x axis that is shown.
const LEAST: f64 = 1e-5;

/// How far the cursor moves, as a share of the visible width; at least to the next point.
pub const NEAR: f64 = 1.0 / 400.0;
/// How far it moves in a large step.
pub const FAR: f64 = 1.0 / 10.0;

/// What is seen of a graph, and how. `whole` is always [`super::Graph::whole`]: the x axis without a zoom.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphView {
    /// Logarithmic y axis.
    pub log: bool,
    /// The four quarters of the timesteps, each its own line, instead of the loss.
    pub quarters: bool,
    by_time: bool,
    strength: usize,
    window: Option<Span>,
    cursor: Option<f64>,
}

impl Default for GraphView {
    fn default() -> Self {
        Self { log: false, quarters: false, by_time: false, strength: USUAL, window: None, cursor: None }
    }
}

impl GraphView {
    /// As the user has set it.
    pub fn new(settings: &HomeSettings) -> Self {
        let usual = STRENGTHS[USUAL];
        let far = |&strength: &usize| (STRENGTHS[strength] - settings.smoothing.unwrap_or(usual)).abs();
        let strength = (0..STRENGTHS.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(USUAL);
        Self { log: settings.log_scale, by_time: settings.x_axis == XAxis::Time, strength, ..Self::default() }
    }

    /// Keep in `settings` what the user has set.
    pub fn keep(&self, settings: &mut HomeSettings) {
        settings.log_scale = self.log;
        settings.x_axis = if self.by_time { XAxis::Time } else { XAxis::Steps };
        settings.smoothing = (self.strength != USUAL).then_some(STRENGTHS[self.strength]);
    }

    /// Whether the user has set both alike, wherever they look.
    pub fn is_set_as(&self, other: &Self) -> bool {
        (self.log, self.by_time, self.strength) == (other.log, other.by_time, other.strength)
    }

    /// Whether x is the time since the run began, and not the step.
    pub fn by_time(&self) -> bool {
        self.by_time
    }

    /// Let x be the other of step and time; cursor and zoom stay at the same points of `curve`.
    pub fn toggle_time(&mut self, curve: &Curve) {
        let from = self.by_time;
        let other = |x: f64| curve.nearest(x, from).map(|i| x_of(&curve.points()[i], !from));
        self.cursor = self.cursor.and_then(other);
        self.window = self.window.and_then(|window| {
            let (from, to) = (other(window.from)?, other(window.to)?);
            (to > from).then_some(Span { from, to })
        });
        self.by_time = !from;
    }

    /// Smooth more.
    pub fn smoother(&mut self) {
        self.strength = (self.strength + 1).min(STRENGTHS.len() - 1);
    }

    /// Smooth less; at last not at all.
    pub fn rougher(&mut self) {
        self.strength = self.strength.saturating_sub(1);
    }

    /// Steps that the smoothing looks over in runs of `steps` steps; 0 is off. The usual window is a twentieth of the
    /// run: what it hides is shorter than what one looks for.
    pub fn smoothing(&self, steps: usize) -> f64 {
        STRENGTHS[self.strength] * (steps as f64 / 20.0).clamp(5.0, 1000.0)
    }

    /// The part of the x axis that is seen.
    pub fn visible(&self, whole: Span) -> Span {
        self.window.unwrap_or(whole)
    }

    /// Whether not all of it is.
    pub fn is_zoomed(&self) -> bool {
        self.window.is_some()
    }

    /// Show half as much, around the cursor or the middle.
    pub fn zoom_in(&mut self, whole: Span) {
        self.zoom(whole, ZOOM, self.cursor);
    }

    /// Show twice as much, around the cursor or the middle.
    pub fn zoom_out(&mut self, whole: Span) {
        self.zoom(whole, 1.0 / ZOOM, self.cursor);
    }

    /// The wheel was turned at `x`: look closer there, or, downwards, from further away.
    pub fn turn(&mut self, whole: Span, down: bool, x: Option<f64>) {
        self.zoom(whole, if down { 1.0 / ZOOM } else { ZOOM }, x.or(self.cursor));
    }

    /// Show `factor` times as much, so that `around` (the middle, if none) stays where it is.
    pub fn zoom(&mut self, whole: Span, factor: f64, around: Option<f64>) {
        let seen = self.visible(whole);
        let around = around.filter(|&x| x >= seen.from && x <= seen.to).unwrap_or_else(|| seen.at(0.5));
        let width = (seen.width() * factor).max(whole.width() * LEAST).max(if self.by_time { 1.0 } else { 4.0 });
        let from = around - seen.share(around) * width;
        self.show(whole, Span { from, to: from + width });
    }

    /// Move what is seen by `share` of its width, to the right if positive.
    pub fn pan(&mut self, whole: Span, share: f64) {
        let seen = self.visible(whole);
        let by = share * seen.width();
        self.show(whole, Span { from: seen.from + by, to: seen.to + by });
    }

    /// Show `span`, moved and cut so that it is inside the whole.
    fn show(&mut self, whole: Span, span: Span) {
        let width = span.width();
        if width >= whole.width() * (1.0 - 1e-9) {
            self.window = None;
            return;
        }
        let from = span.from.clamp(whole.from, whole.to - width);
        self.window = Some(Span { from, to: from + width });
    }

    /// Show all of the x axis, without a cursor.
    pub fn reset(&mut self) {
        (self.window, self.cursor) = (None, None);
    }

    /// Where the cursor is.
    pub fn cursor(&self) -> Option<f64> {
        self.cursor
    }

    /// The point of `curve` under the cursor.
    pub fn cursor_point(&self, curve: &Curve) -> Option<Point> {
        self.cursor.and_then(|x| curve.nearest(x, self.by_time)).map(|i| curve.points()[i])
    }

    /// Put the cursor on the point of `curve` nearest to `x`.
    pub fn place_cursor(&mut self, curve: &Curve, x: f64) {
        self.cursor = curve.nearest(x, self.by_time).map(|i| x_of(&curve.points()[i], self.by_time));
    }

    /// Put the cursor on the point of `curve` nearest to `step`.
    pub fn place_cursor_at_step(&mut self, curve: &Curve, step: usize) {
        self.cursor = curve.nearest(step as f64, false).map(|i| x_of(&curve.points()[i], self.by_time));
    }

    /// Take the cursor away; whether there was one.
    pub fn clear_cursor(&mut self) -> bool {
        self.cursor.take().is_some()
    }

    /// Move the cursor over the points of `curve` by `share` of the visible width, at least to the next point, to the
    /// right if positive; what is seen follows. Without a cursor it starts at the last point that is seen.
    pub fn move_cursor(&mut self, curve: &Curve, whole: Span, share: f64) {
        let seen = self.visible(whole);
        let Some(last) = curve.points().len().checked_sub(1) else { return };
        let x = |i: usize| x_of(&curve.points()[i], self.by_time);
        let shown = curve.inside(seen, self.by_time);
        let now = self.cursor.and_then(|at| curve.nearest(at, self.by_time));
        let now = now.unwrap_or(if shown.is_empty() { last } else { shown.end - 1 });
        let to = curve.nearest(x(now) + share * seen.width(), self.by_time).unwrap_or(now);
        let to = if share < 0.0 { to.min(now.saturating_sub(1)) } else { to.max((now + 1).min(last)) };
        let at = x(to);
        self.cursor = Some(at);
        if self.is_zoomed() && (at < seen.from || at > seen.to) {
            let beyond = if at < seen.from { at - seen.from } else { at - seen.to };
            self.pan(whole, beyond / seen.width());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Span = Span { from: 0.0, to: 1000.0 };

    fn curve() -> Curve {
        let mut curve = Curve::default();
        (1..=1000).for_each(|step| curve.push(Point { step, seconds: step as f64 * 2.0, loss: 1.0 }));
        curve
    }

    #[test]
    fn zooming_keeps_the_cursor_where_it_is_and_stays_inside() {
        let mut view = GraphView::default();
        view.place_cursor(&curve(), 250.2);
        assert_eq!(view.cursor(), Some(250.0));
        view.zoom_in(WHOLE);
        assert_eq!(view.visible(WHOLE), Span { from: 125.0, to: 625.0 });
        (0..60).for_each(|_| view.zoom_in(WHOLE));
        assert!(view.visible(WHOLE).width() >= 4.0 && view.visible(WHOLE).share(250.0) < 1.0);
        (0..60).for_each(|_| view.zoom_out(WHOLE));
        assert!(!view.is_zoomed());
        view.zoom(WHOLE, 0.1, Some(1000.0));
        assert_eq!(view.visible(WHOLE), Span { from: 900.0, to: 1000.0 });
        view.pan(WHOLE, 3.0);
        assert_eq!(view.visible(WHOLE), Span { from: 900.0, to: 1000.0 });
        view.pan(WHOLE, -0.5);
        assert_eq!(view.visible(WHOLE), Span { from: 850.0, to: 950.0 });
        view.reset();
        assert_eq!((view.visible(WHOLE), view.cursor()), (WHOLE, None));
    }

    #[test]
    fn the_cursor_starts_at_the_end_and_moves_from_point_to_point() {
        let (mut view, curve) = (GraphView::default(), curve());
        view.move_cursor(&curve, WHOLE, -NEAR);
        assert_eq!(view.cursor(), Some(997.0));
        view.move_cursor(&curve, WHOLE, -NEAR);
        assert_eq!(view.cursor(), Some(994.0));
        view.move_cursor(&curve, WHOLE, -FAR);
        assert_eq!(view.cursor(), Some(894.0));
        view.zoom(WHOLE, 0.02, None);
        view.move_cursor(&curve, WHOLE, NEAR);
        assert_eq!(view.cursor(), Some(895.0));
        assert!(view.visible(WHOLE).to >= 895.0, "what is seen follows");
        (0..9).for_each(|_| view.move_cursor(&curve, WHOLE, 5.0));
        assert_eq!(view.cursor(), Some(1000.0));
        assert_eq!(view.cursor_point(&curve).map(|point| point.step), Some(1000));
        view.move_cursor(&Curve::default(), WHOLE, NEAR);
        assert_eq!(view.cursor(), Some(1000.0));
    }

    #[test]
    fn time_and_steps_show_the_same_points() {
        let (mut view, curve) = (GraphView::default(), curve());
        view.place_cursor(&curve, 300.0);
        view.zoom_in(WHOLE);
        view.toggle_time(&curve);
        assert_eq!((view.cursor(), view.visible(WHOLE)), (Some(600.0), Span { from: 300.0, to: 1300.0 }));
        view.toggle_time(&curve);
        assert_eq!((view.cursor(), view.visible(WHOLE)), (Some(300.0), Span { from: 150.0, to: 650.0 }));
    }

    #[test]
    fn smoothing_goes_from_off_to_strong() {
        let mut view = GraphView::default();
        assert_eq!((view.smoothing(500), view.smoothing(10), view.smoothing(1_000_000)), (25.0, 5.0, 1000.0));
        (0..9).for_each(|_| view.rougher());
        assert!(view.smoothing(500).abs() < 1e-12);
        (0..9).for_each(|_| view.smoother());
        assert!((view.smoothing(500) - 400.0).abs() < 1e-9);
    }
}
