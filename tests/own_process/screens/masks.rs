//! Masks over samples and photos: shown, doubtful ones first, mended.

use std::path::{Path, PathBuf};

use catbench::image::read_png_text;
use catbench::protocol::Event;
use catbench::tui::ScreenName;
use crossterm::event::KeyCode;

use super::{SIZES, SMALL};
use crate::common::{RUN, Workspace, give_mask};
use crate::screen::Screen;

/// A sampling of eight pictures, the fourth of them without a mask, and three with doubtful ones; the path of each mask.
fn sampled() -> (Workspace, Vec<PathBuf>) {
    let workspace = Workspace::new();
    let sampling = workspace.sampling(8, 8).end(Event::Finished { seconds: 1.0 }).write();
    let confidences = [Some("0.93"), Some("0.41"), None, None, Some("0.4999"), Some("0.5"), Some("0.08"), Some("x")];
    let mask = |(i, confidence)| give_mask(&sampling.folder.join(format!("{i:03}.png")), confidence);
    let masks: Vec<PathBuf> = confidences.into_iter().enumerate().map(mask).collect();
    std::fs::remove_file(&masks[3]).unwrap();
    (workspace, masks)
}

fn said(mask: &Path, key: &str) -> Option<String> {
    read_png_text(mask).unwrap().into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

#[test]
fn masks_are_shown_over_samples_with_the_doubtful_ones_first() {
    let (workspace, _) = sampled();
    for size in SIZES {
        let name = |what: &str| format!("{what}-{}x{}", size.0, size.1);
        let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, size);
        let text = screen.text();
        assert!(text.contains("Samples of demo (8, 3 masks doubtful)") && !text.contains("doubtful first"), "{text}");
        screen.press(KeyCode::Char('v'));
        insta::assert_snapshot!(name("samples_masks"), screen.text());
        screen.press(KeyCode::Enter);
        insta::assert_snapshot!(name("samples_masks_large"), screen.text());
        screen.press(KeyCode::Right).press(KeyCode::Right);
        assert!(screen.text().contains("? mask doubtful 0.49"), "rounded down: {}", screen.text());
        screen.press(KeyCode::Right);
        let text = screen.text();
        assert!(text.contains("4 of 8") && text.contains("007.png"), "then as usual, the newest first: {text}");
        screen.press(KeyCode::Esc).press(KeyCode::Char('v'));
        let text = screen.text();
        assert!(text.contains("007.png") && !text.contains("doubtful first"), "what was chosen stays chosen: {text}");
    }
}

#[test]
fn what_is_mended_is_not_doubtful_any_more_and_what_was_measured_with_it_is_told_of() {
    let (workspace, masks) = sampled();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    screen.text();
    screen.press(KeyCode::Char('v')).press(KeyCode::Char('d'));
    let text = screen.text();
    assert!(text.contains("006.png") && text.contains("3 doubtful, 1 missing"), "{text}");
    assert!(text.contains("mask doubtful 0.08: draw it, or S keeps it as it is"), "{text}");
    // One is drawn, the next one is right as it is.
    screen.press(KeyCode::Char('i')).press(KeyCode::Char('S'));
    screen.press(KeyCode::Char('n'));
    assert!(screen.text().contains("001.png"), "the next doubtful one: {}", screen.text());
    screen.press(KeyCode::Char('S'));
    let text = screen.text();
    assert!(text.contains("1 doubtful, 1 missing"), "{text}");
    for mask in [&masks[6], &masks[1]] {
        let says = |key| said(mask, key);
        assert_eq!((says("mask_made_by").as_deref(), says("confidence")), (Some("hand"), None));
        assert_eq!((says("drawn_over").as_deref(), says("timesteps").as_deref()), (Some("base_model"), Some("100")));
    }
    screen.press(KeyCode::Esc);
    // At once: no answer of the daemon is waited for.
    assert!(screen.draw().contains("Samples of demo (8, 1 mask doubtful)"), "{}", screen.draw());
    for size in SIZES {
        screen.area = ratatui::layout::Rect::new(0, 0, size.0, size.1);
        insta::assert_snapshot!(format!("samples_mended-{}x{}", size.0, size.1), screen.text());
    }
    let mut other = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    assert!(other.wait_for("1 mask doubtful").contains("Samples of demo (8,"), "the daemon has taken it up");
    screen.press(KeyCode::Char('m'));
    let text = screen.wait_for("no weights here");
    assert!(text.contains(&format!("catbench score demo --batch {RUN}")), "{text}");
    screen.press(KeyCode::Esc);
    assert!(!screen.text().contains("mended"), "{}", screen.text());
}

#[test]
fn a_doubtful_mask_of_a_photo_is_marked_too() {
    let (workspace, _) = sampled();
    let photo = workspace.concept().join("images/grass.png");
    let mask = give_mask(&photo, Some("0.45"));
    std::fs::rename(mask, workspace.concept().join("masks/grass.png")).unwrap();
    for size in SIZES {
        let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, size);
        screen.wait_for("1 doubtful");
        insta::assert_snapshot!(format!("concept_doubtful-{}x{}", size.0, size.1), screen.text());
    }
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    screen.press(KeyCode::Right).press(KeyCode::Enter);
    assert!(screen.text().contains("Photo  ? mask doubtful 0.45"), "{}", screen.text());
    screen.press(KeyCode::Esc).press(KeyCode::Char('d')).press(KeyCode::Char('S')).press(KeyCode::Esc);
    let text = screen.wait_for("5, 5 with a mask   Runs");
    assert!(!text.contains("doubtful"), "{text}");
}
