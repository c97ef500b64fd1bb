//! One value over the steps of a run, and its smoothed course.
//!
//! Points are appended as events come, and cost the same however many there are: the smoothed values are kept, and so
//! are the extremes of every 16, 256, 4096, ... points, so that a graph asks for the lowest and highest value of each
//! of its columns without looking at each point.

use super::scale::Span;
use crate::workspace::Point;

/// Points that share an extreme of the next level.
const SHARE: usize = 16;

/// The lowest and the highest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extreme {
    /// Of the finite ones; infinite when there are none.
    pub low: f64,
    /// Of the finite ones; minus infinite when there are none.
    pub high: f64,
    /// Not all are finite.
    pub broken: bool,
}

impl Extreme {
    const NONE: Self = Self { low: f64::INFINITY, high: f64::NEG_INFINITY, broken: false };

    fn of(value: f64) -> Self {
        if value.is_finite() {
            Self { low: value, high: value, broken: false }
        } else {
            Self { broken: true, ..Self::NONE }
        }
    }

    fn join(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high), broken: self.broken || other.broken }
    }

    /// Whether there is a finite value.
    pub fn is_some(self) -> bool {
        self.low <= self.high
    }
}

/// The extremes of every `SHARE`, `SHARE²`, ... values of a list that only grows.
#[derive(Debug, Clone, Default)]
struct Extremes {
    count: usize,
    levels: Vec<Vec<Extreme>>,
}

impl Extremes {
    fn push(&mut self, value: f64) {
        let value = Extreme::of(value);
        let mut size = SHARE;
        for level in &mut self.levels {
            match level.get_mut(self.count / size) {
                Some(extreme) => *extreme = extreme.join(value),
                None => level.push(value),
            }
            size *= SHARE;
        }
        self.count += 1;
        // A level is worth its place once its first share is full.
        if self.count * SHARE == size {
            let first =
                self.levels.last().map_or(value, |level| level.iter().copied().fold(Extreme::NONE, Extreme::join));
            self.levels.push(vec![first]);
        }
    }

    /// Of the values `from..to`, which `value` looks up.
    fn range(&self, from: usize, to: usize, value: impl Fn(usize) -> f64) -> Extreme {
        let mut found = Extreme::NONE;
        let mut at = from;
        while at < to {
            let (mut size, mut level) = (1, None);
            for (i, _) in self.levels.iter().enumerate() {
                let larger = size * SHARE;
                if !at.is_multiple_of(larger) || at + larger > to {
                    break;
                }
                (size, level) = (larger, Some(i));
            }
            found = found.join(match level {
                Some(i) => self.levels[i][at / size],
                None => Extreme::of(value(at)),
            });
            at += size;
        }
        found
    }
}

/// One value over the steps of a run.
#[derive(Debug, Clone)]
pub struct Curve {
    points: Vec<Point>,
    extremes: Extremes,
    means: Vec<f64>,
    mean_extremes: Extremes,
    window: f64,
    sum: f64,
    weight: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            extremes: Extremes::default(),
            means: Vec::new(),
            mean_extremes: Extremes::default(),
            window: 1.0,
            sum: 0.0,
            weight: 0.0,
        }
    }
}

impl Curve {
    /// Smooth over about `window` steps; up to 1 means not at all. Costs nothing when it is so already.
    pub fn smooth(&mut self, window: f64) {
        let window = window.max(1.0);
        if (window - self.window).abs() > f64::EPSILON {
            self.window = window;
            self.means.clear();
            self.mean_extremes = Extremes::default();
            (self.sum, self.weight) = (0.0, 0.0);
            for i in 0..self.points.len() {
                self.push_mean(i);
            }
        }
    }

    /// Become the curve of `points`, which grow at their end; what a resume made void goes.
    pub fn follow(&mut self, points: &[Point]) {
        // The time tells a step that was done again from the one before.
        let same = |(old, new): &(&Point, &Point)| old.step == new.step && old.seconds.total_cmp(&new.seconds).is_eq();
        let had = self.points.len();
        if had > 0 && !self.points.last().zip(points.get(had - 1)).is_some_and(|pair| same(&pair)) {
            let mut kept = std::mem::take(&mut self.points);
            kept.truncate(kept.iter().zip(points).take_while(same).count());
            *self = Self { window: self.window, ..Self::default() };
            kept.into_iter().for_each(|point| self.push(point));
        }
        for &point in &points[self.points.len()..] {
            self.push(point);
        }
    }

    /// Append a point: its step and its time are not before the last one's.
    pub fn push(&mut self, point: Point) {
        self.points.push(point);
        self.extremes.push(point.loss);
        self.push_mean(self.points.len() - 1);
    }

    /// An exponential mean over about `window` steps, without the pull to the first value that a plain one has. Values
    /// that are not finite leave it where it is.
    fn push_mean(&mut self, i: usize) {
        let value = self.points[i].loss;
        if value.is_finite() {
            let before = i.checked_sub(1).map_or(0, |before| self.points[before].step);
            let steps = self.points[i].step.saturating_sub(before).clamp(1, 1 << 20);
            let kept = 1.0 - 2.0 / (self.window + 1.0);
            let fresh = 1.0 - kept;
            let kept = kept.powi(steps as i32);
            self.sum = kept * self.sum + fresh * value;
            self.weight = kept * self.weight + fresh;
        }
        let mean = if self.weight > 0.0 { self.sum / self.weight } else { f64::NAN };
        self.means.push(mean);
        self.mean_extremes.push(mean);
    }

    /// The points as they came.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Whether the smoothed course is another than the points themselves.
    pub fn is_smoothed(&self) -> bool {
        self.window > 1.0
    }

    /// The smoothed value at the point `i`; not finite before the first finite one.
    pub fn mean(&self, i: usize) -> f64 {
        self.means[i]
    }

    /// Extremes of the points `from..to`.
    pub fn extreme(&self, from: usize, to: usize) -> Extreme {
        self.extremes.range(from, to, |i| self.points[i].loss)
    }

    /// Extremes of the smoothed values `from..to`.
    pub fn mean_extreme(&self, from: usize, to: usize) -> Extreme {
        self.mean_extremes.range(from, to, |i| self.means[i])
    }

    /// The point nearest to `x`.
    pub fn nearest(&self, x: f64, by_time: bool) -> Option<usize> {
        let after = first_from(&self.points, x, by_time);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten().filter(|&i| i < self.points.len());
        let away = |i: usize| (x_of(&self.points[i], by_time) - x).abs();
        near.min_by(|&a, &b| away(a).total_cmp(&away(b)))
    }

    /// The points inside `span`.
    pub fn inside(&self, span: Span, by_time: bool) -> std::ops::Range<usize> {
        let from = first_from(&self.points, span.from, by_time);
        let to = self.points.partition_point(|point| x_of(point, by_time) <= span.to);
        from..to.max(from)
    }
}

/// Where a point is on the x axis: its step, or seconds since the run began.
pub fn x_of(point: &Point, by_time: bool) -> f64 {
    if by_time { point.seconds } else { point.step as f64 }
}

/// The first of `points` that is not left of `x`.
pub fn first_from(points: &[Point], x: f64, by_time: bool) -> usize {
    points.partition_point(|point| x_of(point, by_time) < x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: usize, loss: impl Fn(usize) -> f64) -> Vec<Point> {
        (1..=count).map(|step| Point { step, seconds: step as f64 * 0.5, loss: loss(step) }).collect()
    }

    fn curve(points: &[Point], window: f64) -> Curve {
        let mut curve = Curve::default();
        curve.smooth(window);
        curve.follow(points);
        curve
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_follows() {
        let curve = curve(&points(100, |step| if step <= 50 { 1.0 } else { 0.0 }), 10.0);
        assert!((curve.mean(0) - 1.0).abs() < 1e-9 && (curve.mean(49) - 1.0).abs() < 1e-9);
        assert!(curve.mean(50) < 1.0 && curve.mean(99) < 0.01);
    }

    #[test]
    fn a_value_that_is_not_finite_does_not_spoil_those_after_it() {
        let curve = curve(&points(9, |step| [f64::NAN, 1.0, f64::INFINITY][(step - 1) % 3]), 5.0);
        assert!(curve.mean(0).is_nan() && (1..9).all(|i| (curve.mean(i) - 1.0).abs() < 1e-12));
        assert_eq!(curve.extreme(0, 9), Extreme { low: 1.0, high: 1.0, broken: true });
        assert!(!curve.extreme(0, 1).is_some());
    }

    #[test]
    fn extremes_of_any_range_are_those_of_its_points() {
        let points = points(5000, |step| ((step * 7919) % 10007) as f64);
        let curve = curve(&points, 20.0);
        for (from, to) in [(0, 5000), (0, 0), (17, 18), (15, 300), (256, 4352), (4095, 4999), (16, 4096)] {
            let values = points[from..to].iter().map(|point| point.loss);
            let (low, high) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
            assert_eq!(curve.extreme(from, to), Extreme { low, high, broken: false }, "{from}..{to}");
            let means = (from..to).map(|i| curve.mean(i));
            assert_eq!(curve.mean_extreme(from, to).high.to_bits(), means.fold(f64::NEG_INFINITY, f64::max).to_bits());
        }
    }

    #[test]
    fn following_appends_and_a_resume_takes_back() {
        let mut all = points(100, |step| step as f64);
        let mut growing = curve(&all[..60], 10.0);
        growing.follow(&all);
        let once = curve(&all, 10.0);
        assert_eq!((growing.points(), growing.mean(99)), (once.points(), once.mean(99)));
        // Steps 51 to 100 are done again, later and with other values.
        for point in &mut all[50..] {
            (point.seconds, point.loss) = (point.seconds + 100.0, 0.0);
        }
        growing.follow(&all);
        let once = curve(&all, 10.0);
        assert_eq!((growing.points(), growing.mean(99)), (once.points(), once.mean(99)));
        growing.follow(&all[..3]);
        assert_eq!(growing.points().len(), 3);
        growing.smooth(1.0);
        assert!((growing.mean(2) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_nearest_point_is_found_by_step_and_by_time() {
        let curve = curve(&points(10, |_| 0.0), 1.0);
        assert_eq!(curve.nearest(-5.0, false), Some(0));
        assert_eq!(curve.nearest(3.4, false), Some(2));
        assert_eq!(curve.nearest(3.4, true), Some(6));
        assert_eq!(curve.nearest(99.0, true), Some(9));
        assert_eq!(Curve::default().nearest(1.0, false), None);
        assert_eq!(curve.inside(Span { from: 2.5, to: 5.0 }, false), 2..5);
    }
}
