//! What is around every screen: the tabs above it, the keys or what just happened below it.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::canvas::{Canvas, Target};
use super::keymap::{Action, Binding, ScreenName, overlays};
use super::overlays::entry::Input;
use super::theme;
use super::widgets::text;
use super::world::World;

/// The most rows that what just happened takes.
const NOTICE_ROWS: usize = 6;

/// The screens by number, and how the queue is.
pub fn tabs(canvas: &mut Canvas, area: Rect, place: ScreenName, world: &World) {
    let mut x = area.x + 1;
    // Where there is no room for all words, those between number and word and between the screens go closer.
    let (space, gap) = if area.width >= 72 { (" ", 2) } else { ("", 1) };
    for (i, tab) in ScreenName::ALL.into_iter().enumerate() {
        let here = tab == place;
        let text = format!("{}{space}{}", i + 1, tab.word());
        let width = text.chars().count() as u16;
        // The screen that is shown has a mark, not a colour alone.
        let style = if here { theme::focus() } else { theme::faint() };
        if here {
            canvas.buffer.set_string(x - 1, area.y, "▌", theme::focus());
        }
        canvas.buffer.set_stringn(x, area.y, &text, area.right().saturating_sub(x) as usize, style);
        // What cannot be read is named there.
        if tab == ScreenName::Concept && world.problem().is_some() {
            canvas.buffer.set_string(x + width, area.y, "!", theme::bad());
        }
        canvas.target(Rect { x, width, ..area }, Target::ScreenName(tab));
        x += width + gap;
    }
    let (running, queued) = world.running();
    let (text, style) = match (&world.down, running, queued) {
        (Some(_), _, _) => ("✗ no daemon".into(), theme::bad()),
        _ if world.read_only.is_some() => ("! read-only".into(), theme::warn()),
        (None, 0, 0) if area.width >= 110 => ("○ nothing runs".into(), theme::faint()),
        (None, 0, 0) => (String::new(), theme::faint()),
        (None, running, 0) => (format!("● {running}"), theme::accent()),
        (None, running, queued) => (format!("● {running} ◌ {queued}"), theme::accent()),
    };
    let width = text.chars().count() as u16;
    if width > 0 && x + width <= area.right() {
        canvas.buffer.set_string(area.right() - width - 1, area.y, text, style);
    }
}

/// What is typed into the filter, what is being done, or which keys there are.
pub fn footer(
    canvas: &mut Canvas,
    area: Rect,
    world: &World,
    bindings: &[&'static Binding],
    filtering: Option<&Input>,
) {
    let said = |mark: &'static str, text: &str| {
        let line = text.lines().next().unwrap_or_default();
        Line::from(vec![
            Span::styled(mark, theme::warn()),
            Span::raw(text::fit(line, area.width.saturating_sub(4) as usize)),
        ])
    };
    if let Some(input) = filtering {
        let mut spans = vec![Span::styled(" / ", theme::focus())];
        spans.extend(input.line(area.width.saturating_sub(36) as usize, true).spans);
        spans.push(Span::raw("  "));
        let line = Line::from(spans);
        let x = area.x + line.width() as u16;
        canvas.buffer.set_line(area.x, area.y, &line, area.width);
        let rest = Rect { x, width: area.right().saturating_sub(x), ..area };
        return hints(canvas, rest, overlays::FILTER.keys.iter(), |binding| binding.hint.unwrap_or_default());
    }
    if let Some(doing) = world.doing.last() {
        canvas.buffer.set_line(area.x, area.y, &said(" ◌ ", doing), area.width);
        return;
    }
    if let Some(why) = &world.down {
        canvas.buffer.set_line(area.x, area.y, &said(" ✗ ", why), area.width);
        return;
    }
    let goes_on = world.running().0 > 0;
    hints(canvas, area, bindings.iter().copied(), |binding| match binding.hint {
        Some(_) if binding.action == Action::Quit && goes_on => "detach",
        hint => hint.unwrap_or_default(),
    });
}

/// A row of keys, each with its word: how to find out more and how to leave are always seen, of the rest as much as fits.
pub fn hints<'a>(
    canvas: &mut Canvas,
    area: Rect,
    bindings: impl Iterator<Item = &'a Binding> + Clone,
    word: impl Fn(&Binding) -> &'static str,
) {
    let width = |binding: &Binding| (binding.shown.width() + 1 + word(binding).width()) as u16;
    let always =
        |binding: &Binding| matches!(binding.action, Action::Palette | Action::Help | Action::Quit | Action::Back);
    let mut room = area.width.saturating_sub(1);
    room = room.saturating_sub(bindings.clone().filter(|b| always(b)).map(|b| width(b) + 3).sum());
    let mut x = area.x + 1;
    for binding in bindings {
        let wide = width(binding);
        if !always(binding) {
            if room < wide + 3 {
                continue;
            }
            room -= wide + 3;
        }
        let left = area.right().saturating_sub(x) as usize;
        let (after, _) = canvas.buffer.set_stringn(x, area.y, binding.shown, left, theme::strong());
        let left = area.right().saturating_sub(after) as usize;
        canvas.buffer.set_stringn(after, area.y, format!(" {}", word(binding)), left, theme::faint());
        canvas.target(Rect { x, width: wide, ..area }, Target::Action(binding.action));
        x += wide + 3;
    }
}

/// Say what an overlay waits for.
pub fn waiting(canvas: &mut Canvas, area: Rect, what: &str) {
    Clear.render(area, canvas.buffer);
    let line =
        Line::from(vec![Span::styled(" ◌ ", theme::warn()), Span::raw(format!("{what}   Esc leaves it to that"))]);
    canvas.buffer.set_line(area.x, area.y, &line, area.width);
}

/// What just happened, in as many lines as it takes.
pub fn notice_lines(text: &str, width: u16) -> Vec<String> {
    let mut lines = text::wrap(text.trim_end(), width.saturating_sub(4) as usize);
    if lines.len() > NOTICE_ROWS {
        lines.truncate(NOTICE_ROWS);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

/// Say it in the last rows of the screen.
pub fn notice(canvas: &mut Canvas, area: Rect, lines: &[String]) {
    Clear.render(area, canvas.buffer);
    for (i, (line, y)) in lines.iter().zip(area.top()..area.bottom()).enumerate() {
        let mark = if i == 0 { " ! " } else { "   " };
        let line = Line::from(vec![Span::styled(mark, theme::warn()), Span::raw(line.clone())]);
        canvas.buffer.set_line(area.x, y, &line, area.width);
    }
}
