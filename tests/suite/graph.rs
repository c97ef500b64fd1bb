//! The graph as text, at 40, 80 and 150 columns, for what a run and several can look like.

use catbench::tui::graph::{Curve, Data, Graph, GraphView, Interval, Look, NEAR, Pattern, Series};
use catbench::workspace::Point;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;

/// A loss that falls from about `from`, with the noise of random timesteps and some wild steps.
fn losses(steps: usize, from: f64, slower: f64) -> Vec<Point> {
    let mut state = 12345u64 + (from * 1e4) as u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1 << 30) / 2.0
    };
    (1..=steps)
        .map(|step| {
            let base = 0.04 + from * (-(step as f64) / (90.0 * slower)).exp();
            let wild = if step % 97 == 0 { 6.0 } else { 1.0 };
            Point { step, seconds: step as f64 * 0.36 * slower, loss: base * (0.5 + 1.2 * random().powi(2)) * wild }
        })
        .collect()
}

fn curve(points: &[Point], view: &GraphView) -> Curve {
    let mut curve = Curve::default();
    curve.follow(points);
    curve.smooth(view.smoothing(points.len()));
    curve
}

fn series<'a>(name: &'a str, index: usize, data: Data<'a>) -> Series<'a> {
    Series { name: name.into(), data, look: Look::run(index), right: false }
}

fn text(graph: &Graph, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    graph.draw(&mut buffer, area);
    let symbols: Vec<&str> = buffer.content.iter().map(Cell::symbol).collect();
    let rows = symbols.chunks(width.max(1) as usize).map(|row| row.concat().trim_end().to_owned());
    rows.collect::<Vec<_>>().join("\n")
}

fn snapshot(name: &str, graph: &Graph) {
    let sizes = [(40, 10), (80, 14), (150, 24)];
    let all = sizes.map(|(width, height)| format!("{width} x {height}\n{}", text(graph, width, height)));
    insta::assert_snapshot!(name, all.join("\n\n"));
}

fn fixed_noise(points: &[Point]) -> Vec<Point> {
    points
        .iter()
        .filter(|p| p.step % 50 == 0)
        .map(|&p| Point { loss: 0.04 + 1.0 / (p.step as f64 + 20.0), ..p })
        .collect()
}

#[test]
fn without_a_step_it_says_so() {
    let (view, none) = (GraphView::default(), Curve::default());
    snapshot("graph-empty", &Graph { series: vec![series("loss", 0, Data::Curve(&none))], view: &view, steps: 500 });
    snapshot("graph-no-series", &Graph { series: Vec::new(), view: &view, steps: 0 });
}

#[test]
fn one_run_shows_its_steps_its_line_and_its_loss_at_fixed_noise() {
    let points = losses(380, 0.09, 1.0);
    let (mut view, marks) = (GraphView::default(), fixed_noise(&points));
    let loss = curve(&points, &view);
    let all = || vec![series("loss", 0, Data::Curve(&loss)), series("fixed noise", 0, Data::Marks(&marks))];
    snapshot("graph-one-run", &Graph { series: all(), view: &view, steps: 500 });
    view.log = true;
    snapshot("graph-log", &Graph { series: all(), view: &view, steps: 500 });
    view.log = false;
    view.toggle_time(&loss);
    snapshot("graph-by-time", &Graph { series: all(), view: &view, steps: 500 });
    view.toggle_time(&loss);
    let whole = Graph { series: all(), view: &view, steps: 500 }.whole();
    view.place_cursor(&loss, 97.0);
    (0..3).for_each(|_| view.zoom_in(whole));
    snapshot("graph-zoomed", &Graph { series: all(), view: &view, steps: 500 });
}

#[test]
fn several_runs_differ_by_line_and_mark() {
    let view = GraphView::default();
    let points = [losses(500, 0.09, 1.0), losses(400, 0.16, 1.8), losses(250, 0.05, 0.5)];
    let marks = points.clone().map(|points| fixed_noise(&points));
    let curves = points.map(|points| curve(&points, &view));
    let names = ["20261123-120000-0000", "20261123-130000-0001", "20261124-091500-0002"];
    let mut all: Vec<Series> = curves.iter().enumerate().map(|(i, c)| series(names[i], i, Data::Line(c))).collect();
    all.extend(marks.iter().enumerate().map(|(i, m)| series("", i, Data::Marks(m))));
    let mut view = view;
    snapshot("graph-three-runs", &Graph { series: all.clone(), view: &view, steps: 500 });
    // A run that has ended before the cursor has no value there.
    view.place_cursor(&curves[0], 300.0);
    snapshot("graph-three-runs-cursor", &Graph { series: all, view: &view, steps: 500 });
}

#[test]
fn runs_that_lie_over_each_other_are_both_seen() {
    let view = GraphView::default();
    let points = losses(500, 0.09, 1.0);
    let marks = fixed_noise(&points);
    let loss = curve(&points, &view);
    let data = [Data::Line(&loss), Data::Marks(&marks)];
    let all = data.iter().flat_map(|data| [series("one", 0, *data), series("two", 1, *data)]).collect();
    let graph = Graph { series: all, view: &view, steps: 500 };
    let area = Rect::new(0, 0, 80, 14);
    let mut buffer = Buffer::empty(area);
    graph.draw(&mut buffer, area);
    let plot = || buffer.content[80..].iter();
    let count = |index: usize| {
        let is_dots = |cell: &&Cell| cell.symbol().chars().all(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        plot().filter(is_dots).filter(|cell| Some(cell.fg) == Look::run(index).style.fg).count()
    };
    assert!(count(0) > 20 && count(1) > 20, "cells of each line: {} and {}", count(0), count(1));
    for index in 0..2 {
        let mark = Look::run(index).mark;
        assert!(plot().filter(|cell| cell.symbol() == mark).count() > 3, "{mark}");
    }
    assert!([0, 1].iter().all(|&i| text(&graph, 80, 14).lines().next().unwrap().contains(Look::run(i).mark)));
}

#[test]
fn no_interval_covers_a_mark() {
    let view = GraphView::default();
    let points = losses(500, 0.09, 1.0);
    let loss = curve(&points, &view);
    let marks: Vec<Point> =
        points.iter().filter(|point| point.step % 100 == 0).map(|&p| Point { loss: 0.05, ..p }).collect();
    // From end to end of its axis, and its own mark elsewhere.
    let bars: Vec<Interval> =
        marks.iter().map(|&point| Interval { point: Point { loss: 0.9, ..point }, low: 0.0, high: 1.0 }).collect();
    let scores = Series { right: true, ..series("masked CLIP-I", 2, Data::Intervals(&bars)) };
    let all = vec![series("loss", 0, Data::Curve(&loss)), series("fixed noise", 0, Data::Marks(&marks)), scores];
    let text = text(&Graph { series: all, view: &view, steps: 500 }, 80, 14);
    let plot: String = text.lines().skip(1).collect();
    assert_eq!((plot.matches('◆').count(), plot.matches('■').count()), (5, 5), "{text}");
}

#[test]
fn losses_that_are_not_finite_are_marked_and_spoil_nothing() {
    let mut points = losses(300, 0.09, 1.0);
    for (step, loss) in [(100, f64::NAN), (101, f64::INFINITY), (290, f64::NAN)] {
        points[step].loss = loss;
    }
    points[150].loss = 1e30;
    points[151].loss = -1.0;
    let mut view = GraphView::default();
    view.log = true;
    let loss = curve(&points, &view);
    snapshot(
        "graph-not-finite",
        &Graph { series: vec![series("loss", 0, Data::Curve(&loss))], view: &view, steps: 300 },
    );
    points.iter_mut().for_each(|point| point.loss = f64::NAN);
    let loss = curve(&points, &view);
    let text = text(&Graph { series: vec![series("loss", 0, Data::Curve(&loss))], view: &view, steps: 300 }, 80, 14);
    assert!(text.contains("nan") && text.contains('×'), "{text}");
}

#[test]
fn one_point_is_seen() {
    let (mut view, points) = (GraphView::default(), losses(1, 0.09, 1.0));
    let loss = curve(&points, &view);
    let all = || vec![series("loss", 0, Data::Curve(&loss))];
    snapshot("graph-one-point", &Graph { series: all(), view: &view, steps: 500 });
    let whole = Graph { series: all(), view: &view, steps: 500 }.whole();
    view.move_cursor(&loss, whole, -NEAR);
    assert!(text(&Graph { series: all(), view: &view, steps: 500 }, 80, 14).contains("step 1 "));
}

#[test]
fn scores_have_intervals_and_an_axis_of_their_own() {
    let view = GraphView::default();
    let points = losses(500, 0.09, 1.0);
    let loss = curve(&points, &view);
    let scores: Vec<Interval> = (1..=5)
        .map(|i| {
            let value = 0.8 - 0.2 / i as f64;
            let point = Point { loss: value, ..points[i * 100 - 1] };
            Interval { point, low: value - 0.03, high: value + 0.04 }
        })
        .collect();
    let scores = Series { right: true, ..series("masked CLIP-I", 1, Data::Intervals(&scores)) };
    let all = vec![series("loss", 0, Data::Curve(&loss)), scores];
    snapshot("graph-scores", &Graph { series: all, view: &view, steps: 500 });
}

#[test]
fn many_steps_look_like_few() {
    let view = GraphView::default();
    let points = losses(100_000, 0.09, 200.0);
    let loss = curve(&points, &view);
    snapshot(
        "graph-100000",
        &Graph { series: vec![series("loss", 0, Data::Curve(&loss))], view: &view, steps: 100_000 },
    );
}

#[test]
fn a_cell_of_the_plot_is_an_x_value() {
    let view = GraphView::default();
    let points = losses(500, 0.09, 1.0);
    let loss = curve(&points, &view);
    let graph = Graph { series: vec![series("loss", 0, Data::Curve(&loss))], view: &view, steps: 500 };
    let area = Rect::new(10, 5, 106, 20);
    assert_eq!(graph.x_at(area, 10, 10), None, "labels");
    assert_eq!(graph.x_at(area, 60, 24), None, "axis");
    let left = graph.x_at(area, 16, 10).unwrap();
    let middle = graph.x_at(area, 65, 10).unwrap();
    let right = graph.x_at(area, 115, 10).unwrap();
    assert!(left > 0.0 && left < 5.0 && (middle - 250.0).abs() < 5.0 && right > 495.0 && right < 500.0);
}

#[test]
fn no_size_breaks_it_and_patterns_leave_gaps() {
    let view = GraphView::default();
    let points = losses(500, 0.09, 1.0);
    let loss = curve(&points, &view);
    let solid = Graph { series: vec![series("loss", 0, Data::Line(&loss))], view: &view, steps: 500 };
    for (width, height) in [(0, 0), (1, 9), (9, 1), (15, 4), (16, 5), (17, 6), (300, 3), (30, 100)] {
        text(&solid, width, height);
    }
    let dots = |graph: &Graph| {
        let bits = |c: char| if ('\u{2800}'..='\u{28ff}').contains(&c) { (c as u32 - 0x2800).count_ones() } else { 0 };
        text(graph, 80, 14).chars().map(bits).sum::<u32>()
    };
    let look = Look { pattern: Pattern::Dotted, ..Look::run(0) };
    let dotted = vec![Series { look, ..series("loss", 0, Data::Line(&loss)) }];
    assert!(dots(&Graph { series: dotted, view: &view, steps: 500 }) * 3 < dots(&solid) * 2);
}
