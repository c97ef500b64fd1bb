//! Axes: from values to dots and back, where their marks stand, and what these say.

/// A part of the x axis: steps, or seconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Left end.
    pub from: f64,
    /// Right end, which is larger.
    pub to: f64,
}

impl Span {
    /// From its left to its right end.
    pub fn width(self) -> f64 {
        self.to - self.from
    }

    /// Where `x` is: 0 at the left end, 1 at the right one.
    pub fn share(self, x: f64) -> f64 {
        (x - self.from) / self.width()
    }

    /// What is at `share` of it.
    pub fn at(self, share: f64) -> f64 {
        self.from + share * self.width()
    }
}

/// A y axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// An axis that holds `low` to `high`. A linear one starts at 0, so that heights can be compared, unless that would
    /// leave half of it empty.
    pub fn fit(low: f64, high: f64, log: bool) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() && low <= high { (low, high) } else { (0.0, 1.0) };
        if log {
            // More decades than anyone can read would be beyond what numbers hold.
            let high = if high > 0.0 { high.clamp(1e-100, 1e100) } else { 1.0 };
            let low = if low > 0.0 { low.clamp(high * 1e-30, high) } else { high / 1e3 };
            // One value alone stands in the middle.
            let room = if high > low * 1.01 { (high / low).powf(0.02) } else { 2.0 };
            return Self { low: low / room, high: high * room, log };
        }
        let range = if high > low { high - low } else { high.abs().max(1e-6) };
        let (starts_at_0, ends_at_0) = (low >= 0.0 && low < high / 2.0, high <= 0.0 && high > low / 2.0);
        Self {
            low: if starts_at_0 || (low == 0.0 && high == 0.0) { 0.0 } else { low - 0.04 * range },
            high: if ends_at_0 && low < 0.0 { 0.0 } else { high + 0.04 * range },
            log,
        }
    }

    fn place(self, value: f64) -> f64 {
        if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value }
    }

    /// Where `value` is: 0 at the bottom, 1 at the top; values outside are at the nearer end.
    pub fn share(self, value: f64) -> f64 {
        let (low, high) = (self.place(self.low), self.place(self.high));
        ((self.place(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Round values to mark on it, at most about `count`.
    pub fn ticks(self, count: usize) -> Vec<f64> {
        let count = count.max(1);
        if self.log {
            const SETS: [&[f64]; 4] = [&[1.0, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let inside = |set: &[f64]| -> Vec<f64> {
                let all = decades.clone().flat_map(|decade| set.iter().map(move |&digit| digit * 10f64.powi(decade)));
                all.filter(|&value| value >= self.low && value <= self.high).collect()
            };
            let found = SETS.into_iter().map(inside).find(|ticks| ticks.len() <= count + 1);
            match found {
                Some(ticks) if ticks.len() >= 2 => return ticks,
                Some(_) => {}
                None => {
                    let ticks = inside(&[1.0]);
                    return ticks.iter().copied().step_by(ticks.len().div_ceil(count + 1)).collect();
                }
            }
        }
        multiples(self.low, self.high, nice((self.high - self.low) / count as f64, &[1.0, 2.0, 5.0, 10.0]))
    }
}

/// The multiples of `step` from `low` to `high`.
fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 1e3) as usize;
    (0..=count).map(|i| (first + i as f64) * step).filter(|&value| value <= high + 1e-9 * step).collect()
}

/// The least of `steps` times a power of ten that is not below `value`.
fn nice(value: f64, steps: &[f64]) -> f64 {
    let power = 10f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    steps.iter().map(|step| step * power).find(|&step| step >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Round x values to mark on `span`, at most about `count`.
pub fn x_ticks(span: Span, count: usize, by_time: bool) -> Vec<f64> {
    const SECONDS: [f64; 17] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0,
        43200.0,
    ];
    let least = span.width() / count.max(1) as f64;
    let step = if by_time {
        SECONDS
            .into_iter()
            .find(|&step| step >= least)
            .unwrap_or_else(|| nice(least / 86400.0, &[1.0, 2.0, 5.0, 10.0]) * 86400.0)
    } else {
        nice(least.max(1.0), &[1.0, 2.0, 5.0, 10.0])
    };
    multiples(span.from, span.to, step)
}

/// An x value in few characters.
pub fn x_label(x: f64, by_time: bool) -> String {
    if !by_time {
        return match x {
            x if x >= 1e6 => format!("{}M", (x / 1e4).round() / 100.0),
            x if x >= 1e4 => format!("{}k", (x / 1e2).round() / 10.0),
            x => format!("{x:.0}"),
        };
    }
    let whole = x.max(0.0).round() as u64;
    let two = |large: u64, unit: &str, small: u64, sub: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{sub}") }
    };
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => two(whole / 60, "m", whole % 60, "s"),
        3600..86400 => two(whole / 3600, "h", whole / 60 % 60, "m"),
        _ => two(whole / 86400, "d", whole / 3600 % 24, "h"),
    }
}

/// A value in four characters where it goes.
pub fn label(value: f64) -> String {
    match value {
        v if v.is_nan() => "nan".into(),
        f64::INFINITY => "inf".into(),
        v if v < 0.0 => format!("-{}", label(-v)),
        v if v >= 10_000.0 => format!("{v:.0e}"),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        0.0 => "0".into(),
        v if v < 0.0001 => format!("{v:.0e}"),
        v if v < 0.01 => format!("{v:.4}")[1..].to_owned(),
        // Rounding may reach 1.
        v => format!("{v:.3}").trim_start_matches('0').to_owned(),
    }
}

/// A difference with its sign, as short.
pub fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", label(value)) } else { label(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!([0.006, -0.25, 0.0].map(signed), ["+.0060", "-.250", "0"]);
        assert_eq!([0.0, 0.0042, 0.0412, 0.5, 1.0, 12.3].map(label), ["0", ".0042", ".041", ".500", "1.00", "12.3"]);
        assert_eq!([f64::NAN, f64::INFINITY, -0.25, 0.9999].map(label), ["nan", "inf", "-.250", "1.000"]);
        assert_eq!([0.0, 500.0, 12_500.0, 1e6].map(|x| x_label(x, false)), ["0", "500", "12.5k", "1M"]);
        let times = [0.0, 90.0, 120.0, 5400.0, 90_000.0].map(|x| x_label(x, true));
        assert_eq!(times, ["0s", "1m30s", "2m", "1h30m", "1d1h"]);
    }

    #[test]
    fn a_linear_axis_starts_at_0_unless_that_would_waste_half_of_it() {
        assert!(Scale::fit(0.1, 1.0, false).share(0.0).abs() < 1e-12);
        let scores = Scale::fit(0.7, 0.8, false);
        assert!(scores.share(0.7) < 0.05 && scores.share(0.8) > 0.95);
        assert!((Scale::fit(0.5, 0.5, false).share(0.5) - 0.5).abs() < 0.5);
    }

    #[test]
    fn no_values_break_an_axis() {
        let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1.0, 1e300];
        for (low, high, log) in odd.iter().flat_map(|&a| odd.iter().flat_map(move |&b| [(a, b, false), (a, b, true)])) {
            let scale = Scale::fit(low, high, log);
            assert!(scale.share(0.3).is_finite(), "{low} {high} {log}");
            assert!(scale.ticks(4).len() <= 12, "{low} {high} {log}: {:?}", scale.ticks(4));
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::fit(0.02, 0.21, false).ticks(4), [0.0, 0.1, 0.2]);
        assert_eq!(Scale::fit(0.01, 1.0, true).ticks(3), [0.01, 0.1, 1.0]);
        assert_eq!(x_ticks(Span { from: 0.0, to: 500.0 }, 5, false), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!(x_ticks(Span { from: 0.0, to: 200.0 }, 4, true), [0.0, 60.0, 120.0, 180.0]);
    }
}
