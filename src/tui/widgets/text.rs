//! Text in a given width.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::tui::theme;

/// Cut or filled up to `width` cells; what is cut ends with `…`.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return format!("{text}{:1$}", "", width - text.width());
    }
    let mut cut = String::new();
    let mut used = 0;
    for letter in text.chars() {
        let wide = letter.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        cut.push(letter);
        used += wide;
    }
    if width > 0 {
        cut.push('…');
        used += 1;
    }
    format!("{cut}{:1$}", "", width - used)
}

/// Broken at spaces into lines of `width` cells; longer words are broken where they must be. The lines of the text stay
/// lines.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            for letter in word.chars() {
                if line.width() + letter.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(letter);
            }
        }
        lines.push(line);
    }
    lines
}

/// Draw `lines` from the top of `area`, as many as fit, a column in, as the title over them is.
pub fn draw(buffer: &mut Buffer, area: Rect, lines: &[Line]) {
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x + 1, y, line, area.width.saturating_sub(1));
    }
}

/// Say in the middle of `area` that there is nothing, and what to do about it.
pub fn empty(buffer: &mut Buffer, area: Rect, text: &str) {
    let lines = wrap(text, area.width.saturating_sub(4) as usize);
    let top = area.y + area.height.saturating_sub(lines.len() as u16) / 2;
    for (line, y) in lines.iter().zip(top..area.bottom()) {
        let x = area.x + area.width.saturating_sub(line.width() as u16) / 2;
        buffer.set_stringn(x, y, line, area.width as usize, theme::faint());
    }
}

/// A name and a value, the value broken into as many lines as it takes.
pub fn rows(name: &str, value: &str, name_width: usize, width: usize, style: Style) -> Vec<Line<'static>> {
    use ratatui::text::Span;
    let parts = wrap(value, width.saturating_sub(name_width + 1));
    let lines = parts.into_iter().enumerate().map(|(i, part)| {
        let name = if i == 0 { fit(name, name_width) } else { " ".repeat(name_width) };
        Line::from(vec![Span::styled(format!("{name} "), theme::faint()), Span::styled(part, style)])
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_filled_by_what_it_takes_on_the_screen() {
        assert_eq!([fit("mug", 5), fit("teapot", 4), fit("茶壺です", 5), fit("x", 0)], ["mug  ", "tea…", "茶壺…", ""]);
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_where_they_must() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a/very/long/path", 6), ["a/very", "/long/", "path"]);
        assert_eq!(wrap("x\n\ny", 5), ["x", "", "y"]);
    }
}
