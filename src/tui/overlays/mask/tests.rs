//! The editor by keys and mouse, without a terminal.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crossterm::event::{MouseButton, MouseEventKind};
use image::Rgb;

use super::on_disk::mask_path;
use super::*;
use crate::image as files;
use crate::tui::keymap::find;

/// A home with a photo or a sample of 64 × 64 pixels, and the editor on it; 80 × 40 cells have 80 × 80 pixels.
fn editor(folder: &Path, kind: &str) -> (PathBuf, MaskEditor) {
    let path = folder.join(kind).join("a.png");
    std::fs::create_dir_all(folder.join(kind)).unwrap();
    let half = RgbImage::from_fn(64, 64, |x, _| Rgb([if x < 32 { 10 } else { 200 }; 3]));
    files::write_png(&path, &half, &[]).unwrap();
    let shot = Shot { path: path.clone(), ..Shot::default() };
    let mut editor = MaskEditor::new(vec![shot], 0, None);
    see(&mut editor);
    (path, editor)
}

fn see(editor: &mut MaskEditor) {
    editor.drawn = Some((Rect::new(0, 0, 80, 40), editor.whole((80, 80)), (80, 80)));
}

fn mouse(editor: &mut MaskEditor, kind: MouseEventKind, (column, row): (u16, u16)) {
    editor.mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
}

fn press(editor: &mut MaskEditor, keys: &str) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(crate::workspace::Home::at(folder.path()).unwrap());
    for key in keys.chars() {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
        let action = find(overlays::MASK.keys, key).unwrap();
        editor.act(action, key, &world);
    }
}

fn drag(editor: &mut MaskEditor, button: MouseButton, cells: &[(u16, u16)]) {
    mouse(editor, MouseEventKind::Down(button), cells[0]);
    cells[1..].iter().for_each(|&cell| mouse(editor, MouseEventKind::Drag(button), cell));
    mouse(editor, MouseEventKind::Up(button), cells[cells.len() - 1]);
}

fn white(editor: &MaskEditor) -> usize {
    editor.canvas.mask().pixels().filter(|pixel| pixel.0[0] == 255).count()
}

fn said(mask: &Path, key: &str) -> Option<String> {
    files::read_png_text(mask).unwrap().into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

#[test]
fn the_pixel_under_the_mouse_stays_there_while_it_zooms() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut editor) = editor(folder.path(), "images");
    let cell = (20, 9);
    let before = editor.beyond(cell.0, cell.1).unwrap();
    for kind in [MouseEventKind::ScrollUp; 6].into_iter().chain([MouseEventKind::ScrollDown; 2]) {
        mouse(&mut editor, kind, cell);
        let now = editor.beyond(cell.0, cell.1).unwrap();
        assert!((now.0 - before.0).abs() < 1e-3 && (now.1 - before.1).abs() < 1e-3, "{before:?} {now:?}");
    }
    let look = editor.zoom.unwrap();
    // The middle button takes the picture with it.
    drag(&mut editor, MouseButton::Middle, &[(40, 20), (50, 25)]);
    let panned = editor.zoom.unwrap();
    assert!((look.middle.0 - panned.middle.0 - 10.0 / look.scale).abs() < 1e-3, "{look:?} {panned:?}");
    assert!((look.middle.1 - panned.middle.1 - 10.0 / look.scale).abs() < 1e-3, "{look:?} {panned:?}");
    assert_eq!(white(&editor), 0, "and draws nothing");
    (0..20).for_each(|_| mouse(&mut editor, MouseEventKind::ScrollDown, cell));
    assert_eq!(editor.zoom, None);
}

#[test]
fn a_drag_past_the_edge_goes_on_along_it_and_ends_where_the_button_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut editor) = editor(folder.path(), "images");
    press(&mut editor, "r");
    drag(&mut editor, MouseButton::Left, &[(40, 20), (79, 20), (79, 44)]);
    let (left, top) = (32, 32);
    assert_eq!(white(&editor), (64 - left) * (64 - top), "down to the corner of the picture");
    press(&mut editor, "ub[[[[[[[[");
    // Out of the picture and in again is one stroke.
    drag(&mut editor, MouseButton::Left, &[(40, 20), (40, 45), (44, 20)]);
    assert!(white(&editor) > 45, "{}", white(&editor));
    press(&mut editor, "u");
    assert_eq!(white(&editor), 0);
}

#[test]
fn every_tool_takes_away_with_the_right_button_or_when_it_subtracts() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut editor) = editor(folder.path(), "images");
    let corners = [(16, 8), (32, 8), (32, 16), (16, 16)];
    for (tool, cells) in [("r", &[corners[0], corners[2]][..]), ("o", &corners[..]), ("w", &[corners[0]][..])] {
        for (subtract, button) in [("", MouseButton::Right), ("t", MouseButton::Left)] {
            editor.canvas.fill(255);
            press(&mut editor, &format!("{tool}{subtract}"));
            drag(&mut editor, button, cells);
            press(&mut editor, subtract);
            assert!(white(&editor) < 64 * 64 - 50, "{tool} {subtract}: {}", white(&editor));
        }
    }
    assert_eq!(white(&editor), 32 * 64, "the wand takes the dark half away");
}

#[test]
fn what_is_not_changed_keeps_its_file_and_what_is_says_what_it_was_drawn_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut editor) = editor(folder.path(), "images");
    let mask = mask_path(&path);
    std::fs::create_dir_all(mask.parent().unwrap()).unwrap();
    let text = [("mask_made_by", "attention"), ("threshold", "otsu")];
    let half = GrayImage::from_fn(64, 64, |x, _| image::Luma([if x < 32 { 255 } else { 0 }]));
    files::write_png(&mask, &half, &text).unwrap();
    let bytes = std::fs::read(&mask).unwrap();
    editor.read();
    see(&mut editor);
    press(&mut editor, "S");
    press(&mut editor, "iuS");
    assert_eq!(std::fs::read(&mask).unwrap(), bytes);
    press(&mut editor, "iS");
    let all = |key| said(&mask, key);
    assert_eq!((all("mask_made_by").as_deref(), all("drawn_over").as_deref()), (Some("hand"), Some("attention")));
    assert_eq!(all("threshold").as_deref(), Some("otsu"), "of what it was drawn over");
    editor.read();
    press(&mut editor, "gS");
    assert_eq!(all("drawn_over").as_deref(), Some("attention"), "still");
}

#[test]
fn a_mask_that_marks_nothing_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let (photo, mut editor) = editor(folder.path(), "images");
    press(&mut editor, "S");
    assert!(!mask_path(&photo).exists(), "{:?}", editor.said);
    press(&mut editor, "b S");
    assert!(mask_path(&photo).is_file());
    press(&mut editor, "cS");
    assert!(mask_path(&photo).is_file() && editor.said.as_ref().unwrap().contains("S again deletes"));
    press(&mut editor, "S");
    assert!(!mask_path(&photo).exists());

    let (sample, mut editor) = self::editor(folder.path(), "samples");
    press(&mut editor, "b ScS");
    assert!(files::read_any_mask(&mask_path(&sample)).unwrap().iter().any(|&value| value > 0));
    press(&mut editor, "S");
    assert!(files::read_any_mask(&mask_path(&sample)).unwrap().iter().all(|&value| value == 0));
    editor.read();
    assert!(editor.text.is_some(), "that nothing is in a sample is no mistake");
    press(&mut editor, "SD");
    assert!(!mask_path(&sample).exists());
}

#[test]
fn a_lasso_is_drawn_as_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut editor) = editor(folder.path(), "images");
    press(&mut editor, "o");
    mouse(&mut editor, MouseEventKind::Down(MouseButton::Left), (12, 4));
    mouse(&mut editor, MouseEventKind::Drag(MouseButton::Left), (28, 4));
    mouse(&mut editor, MouseEventKind::Drag(MouseButton::Left), (28, 20));
    let picture = editor.picture.clone().unwrap();
    let look = editor.whole((80, 80));
    let drawn = editor.compose(&picture, look, (80, 80));
    // Half way between the first two corners, on dark ground.
    assert!((7..=10).any(|y| drawn.get_pixel(20, y).0 == [255; 3]));
}
