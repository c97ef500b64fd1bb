//! What lies over the screens: forms, questions, the palette, pages, and what they do with keys and clicks.

use catbench::protocol::{JobInfo, JobKind, JobState};
use catbench::tui::keymap::overlays as layers;
use catbench::tui::{Colours, Message, Next, ScreenName, Update};
use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};

use super::{SIZES, SMALL, finished, queue};
use crate::common::{Workspace, catbench, fixture, short_folder};
use crate::screen::Screen;

fn control(screen: &mut Screen, letter: char) -> &mut Screen {
    screen.send(Input::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)))
}

/// Where `text` is on the screen.
fn find(screen: &mut Screen, text: &str) -> (u16, u16) {
    let drawn = screen.text();
    let found = drawn.lines().enumerate().find_map(|(row, line)| {
        let byte = line.find(text)?;
        Some((line[..byte].chars().count() as u16, row as u16))
    });
    found.unwrap_or_else(|| panic!("no {text:?} in\n{drawn}"))
}

/// What a runner of this program would reckon; that of a test cannot be asked.
fn needs() -> Message {
    let lines = [
        "✗ 9.1 GiB are needed, cpu has 4.0 GiB free: fewer images a step, or gradient_checkpointing",
        "pictures of 64 × 64 on cpu",
        "about 9.1 GiB in the backward pass; cpu has 4.0 GiB free",
        "about 3 min 10 s (380 ms a step), measured on this machine",
    ];
    Message::Said(lines.map(str::to_owned).into())
}

/// A snapshot at both sizes, after `prepare`.
fn snapshot(name: &str, workspace: &Workspace, place: ScreenName, prepare: impl Fn(&mut Screen)) {
    for size in SIZES {
        let concept = (place != ScreenName::Library).then_some("demo");
        let mut screen = Screen::open(workspace, concept, place, size);
        screen.text();
        prepare(&mut screen);
        insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), screen.text());
    }
}

#[test]
fn every_overlay_at_both_sizes() {
    let workspace = finished();
    snapshot("help", &workspace, ScreenName::Train, |screen| {
        screen.press(KeyCode::Char('?'));
    });
    snapshot("palette", &workspace, ScreenName::Concept, |screen| {
        screen.type_text(":co");
    });
    snapshot("question", &workspace, ScreenName::Library, |screen| {
        screen.press(KeyCode::Char('D'));
    });
    snapshot("entry", &workspace, ScreenName::Samples, |screen| {
        screen.press(KeyCode::Char('p')).press(KeyCode::Down);
    });
    snapshot("mask_editor", &workspace, ScreenName::Concept, |screen| {
        screen.press(KeyCode::Char('d'));
    });
    snapshot("form", &workspace, ScreenName::Train, |screen| {
        screen.press(KeyCode::Char('t')).press(KeyCode::Down).press(KeyCode::Down);
        screen.text();
        screen.tell(needs());
    });
    let untrained = Workspace::new();
    untrained.trains_with("steps = 300\nlayers = [0, 1]");
    snapshot("form_of_the_concept", &untrained, ScreenName::Train, |screen| {
        screen
            .press(KeyCode::Char('t'))
            .press(KeyCode::Down)
            .press(KeyCode::Down)
            .press(KeyCode::Down)
            .press(KeyCode::Char('0'));
        screen.press(KeyCode::Up);
        screen.text();
        screen.tell(needs());
    });
    let images = workspace.concept().join("images");
    snapshot("picker", &workspace, ScreenName::Library, |screen| {
        screen.press(KeyCode::Char('n')).type_text(images.to_str().unwrap()).press(KeyCode::Enter);
        screen.wait_for("✓ 5 photos here");
    });
}

#[test]
fn a_light_theme_has_colours_of_its_own() {
    let workspace = Workspace::new();
    let run = workspace.run().train(230).write().hold();
    let mut screen = Screen::open_in(&workspace, None, ScreenName::Jobs, SMALL, Colours::Indexed);
    screen.text();
    screen.press(KeyCode::Char('7')).tell(Message::Update(Update::Jobs(queue(&run.folder, JobKind::Train))));
    screen.text();
    let dark = screen.cells();
    screen.press(KeyCode::Char('C'));
    assert!(screen.text().contains("theme: dark"), "{}", screen.text());
    screen.press(KeyCode::Char('C'));
    assert!(screen.text().contains("theme: light"));
    screen.press(KeyCode::Char('7'));
    let light = screen.cells();
    assert_ne!(light, dark);
    let styles = light.content.iter().map(|cell| format!("{:?} on {:?} {:?}", cell.fg, cell.bg, cell.modifier));
    let mut styles: Vec<String> = styles.collect();
    styles.sort();
    styles.dedup();
    insta::assert_snapshot!("light-80x24", format!("{}\n\n{}", screen.text(), styles.join("\n")));
    screen.press(KeyCode::Char('C'));
    assert!(screen.text().contains("theme: auto"));
    assert_eq!(screen.press(KeyCode::Char('7')).cells(), dark);
}

#[test]
fn the_demo_comes_with_one_key_and_nothing_is_offered_that_is_not_there() {
    let workspace = Workspace::new();
    std::fs::remove_dir_all(workspace.concept()).unwrap();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    let text = screen.text();
    let foot = text.lines().last().unwrap();
    assert!(!foot.contains("sort") && !foot.contains("pane") && foot.contains("d demo"), "{foot}");
    screen.press(KeyCode::Char('d'));
    let text = screen.wait_for("a kind of teapot");
    assert!(text.contains("▌2 Concept"), "{text}");
    assert!(workspace.concept().join("base_model/unet").is_dir());
    screen.press(KeyCode::Char('1')).press(KeyCode::Char('d'));
    assert!(screen.text().contains("the demo is here already"));
}

#[test]
fn photos_that_cannot_be_read_are_named_while_a_folder_is_chosen() {
    let workspace = Workspace::new();
    let elsewhere = short_folder();
    let photos = elsewhere.path().join("shots");
    std::fs::create_dir_all(&photos).unwrap();
    for photo in std::fs::read_dir(workspace.concept().join("images")).unwrap().flatten() {
        std::fs::copy(photo.path(), photos.join(photo.file_name())).unwrap();
    }
    // One that is cut short: its head is whole.
    let bytes = std::fs::read(photos.join("snow.png")).unwrap();
    std::fs::write(photos.join("snow.png"), &bytes[..bytes.len() / 2]).unwrap();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    screen.press(KeyCode::Char('n')).type_text(photos.to_str().unwrap()).press(KeyCode::Enter);
    screen.wait_for("4 photos, 1 cannot be read: snow.png");
    control(&mut screen, 's');
    screen.wait_for("class word");
    screen.press(KeyCode::Down).type_text("cup").press(KeyCode::Down);
    control(&mut screen, 'u').type_text(fixture("tiny_sd1").to_str().unwrap());
    assert!(screen.text().contains("1 cannot be read: snow.png"), "{}", screen.text());
}

#[test]
fn an_error_neither_closes_a_form_nor_loses_what_is_typed() {
    let workspace = Workspace::new();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    screen.press(KeyCode::Char('R'));
    control(&mut screen, 'u').type_text("two/names").press(KeyCode::Enter);
    let text = screen.wait_for("✗");
    assert!(text.contains("Rename") && text.contains("two/names") && text.contains("cannot be a concept's"), "{text}");
    // What is wrong is all there, not cut at the edge.
    assert!(text.contains("no space at its ends"), "{text}");
    control(&mut screen, 'u').type_text("mug").press(KeyCode::Enter);
    screen.wait_for("demo is mug now");
    assert!(workspace.home().join("mug").is_dir());
}

#[test]
fn notices_are_broken_at_the_edge_and_not_cut() {
    let workspace = Workspace::new();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    std::fs::write(workspace.concept().join("concept.toml"), "name = 3\n").unwrap();
    screen.press(KeyCode::Enter);
    let text = screen.text();
    assert!(text.contains(" ! ") && text.replace("\n   ", " ").contains("expected a string"), "{text}");
}

#[test]
fn what_a_training_needs_is_seen_at_the_smallest_size_and_the_rest_is_scrolled() {
    let workspace = Workspace::with_models();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.press(KeyCode::Char('t'));
    screen.text();
    screen.tell(needs());
    let text = screen.text();
    for line in ["✗ 9.1 GiB are needed", "about 3 min", "What that comes to"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    screen.press(KeyCode::Tab);
    for _ in 0..30 {
        screen.press(KeyCode::Down);
    }
    let scrolled = screen.text();
    assert_ne!(scrolled, text);
    assert!(scrolled.contains("▸  method"), "the chosen setting stays: {scrolled}");
}

#[test]
fn priority_and_order_are_set_in_the_form() {
    let workspace = Workspace::with_models();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.press(KeyCode::Char('t')).press(KeyCode::Down).press(KeyCode::Down);
    control(&mut screen, 'u').type_text("4").press(KeyCode::PageDown).type_text("77").press(KeyCode::Enter);
    let text = screen.wait_for("✗");
    assert!(text.contains("77"), "a job that is not there is named, and the form stays: {text}");
    assert!(!workspace.concept().join("runs").exists() || crate::common::jobs(&workspace).is_empty());
    control(&mut screen, 'u').press(KeyCode::Up);
    control(&mut screen, 'u').type_text("3").press(KeyCode::Enter);
    screen.wait_for("job 1");
    assert_eq!(crate::common::jobs(&workspace)[0].priority, 3);
}

#[test]
fn what_cannot_fit_is_refused_in_the_form_and_not_queued() {
    let workspace = Workspace::with_models();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, (120, 40));
    screen.text();
    screen.press(KeyCode::Char('t')).press(KeyCode::Down).press(KeyCode::Down).press(KeyCode::Down);
    control(&mut screen, 'u').type_text("1000000").press(KeyCode::Enter);
    let text = screen.wait_for("would fit");
    assert!(text.contains("✗") && text.contains("of memory in a training step"), "{text}");
    assert!(text.contains("batch_size"), "the form stays: {text}");
    assert!(crate::common::jobs(&workspace).is_empty());
    assert!(!workspace.concept().join("runs").exists(), "nothing is made");
}

#[test]
fn ctrl_c_goes_back_from_what_lies_over_a_screen_and_only_then_leaves() {
    let workspace = Workspace::new();
    for (place, keys) in [
        (ScreenName::Library, "n"),
        (ScreenName::Library, "R"),
        (ScreenName::Library, ":"),
        (ScreenName::Library, "/x"),
        (ScreenName::Concept, "d"),
        (ScreenName::Concept, "?"),
    ] {
        let concept = (place != ScreenName::Library).then_some("demo");
        let mut screen = Screen::open(&workspace, concept, place, SMALL);
        let before = screen.text();
        screen.type_text(keys);
        assert_ne!(screen.text(), before, "{keys}");
        assert_ne!(control(&mut screen, 'c').last, Next::Quit, "{keys}");
        assert_eq!(screen.text(), before, "{keys}");
        assert_eq!(control(&mut screen, 'c').last, Next::Quit, "{keys}");
    }
}

#[test]
fn the_palette_tells_keys_from_verbs_and_fills_the_open_concept_in() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.type_text(":runs");
    let text = screen.text();
    assert!(text.contains("▸ runs") && text.contains("$ catbench runs"), "{text}");
    // All of what the chosen one does.
    screen.press(KeyCode::Esc).type_text(":ctag");
    assert!(screen.text().contains("them away; set its notes."), "{}", screen.text());
    screen.press(KeyCode::Enter);
    assert!(screen.text().contains(" : concept tag demo "), "{}", screen.text());
    // A verb that needs no words is done at once.
    screen.press(KeyCode::Esc).type_text(":runs").press(KeyCode::Down).press(KeyCode::Enter);
    screen.wait_for("✓ done");
}

#[test]
fn a_second_click_opens_and_questions_and_the_palette_can_be_clicked() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    let (column, row) = find(&mut screen, "demo  ");
    screen.click(column, row);
    assert!(screen.text().contains("▌1 Library"));
    screen.click(column, row);
    assert!(screen.text().contains("▌2 Concept"), "{}", screen.text());
    screen.press(KeyCode::Char('1')).press(KeyCode::Char('D'));
    let (column, row) = find(&mut screen, "n keep");
    screen.click(column, row);
    assert!(!screen.text().contains("Put into the trash?"));
    screen.type_text(":help");
    let (column, row) = find(&mut screen, "▸ help");
    screen.click(column + 3, row);
    screen.click(column + 3, row);
    assert!(screen.text().contains("Everywhere"), "{}", screen.text());
}

#[test]
fn the_keys_of_an_overlay_are_a_key_away_and_it_is_there_afterwards() {
    let workspace = Workspace::new();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    screen.press(KeyCode::Char('d'));
    let editor = screen.text();
    screen.press(KeyCode::Char('?'));
    assert!(screen.text().contains("Mask editor"), "{}", screen.text());
    screen.press(KeyCode::Char('G')).press(KeyCode::Char('g'));
    assert!(screen.text().contains("Mask editor"), "the help stays at keys that it lists");
    screen.press(KeyCode::Esc);
    assert_eq!(screen.text(), editor);
    // Where text is typed `?` is text.
    screen.press(KeyCode::Esc).press(KeyCode::Char('1')).press(KeyCode::Char('R')).press(KeyCode::Char('?'));
    assert!(screen.text().contains("demo?"));
    screen.press(KeyCode::F(1));
    assert!(screen.text().contains("Lines to fill in") && screen.text().contains("Ctrl-U"), "{}", screen.text());
}

/// Each key of a table does something where it is pressed: what is drawn changes, or the overlay closes.
#[test]
fn each_listed_key_does_something() {
    let workspace = finished();
    let many = workspace.home().join("many");
    for name in ["images/a", "images/b"] {
        std::fs::create_dir_all(many.join(name)).unwrap();
    }
    for folder in (0..40).map(|i| format!("images/c{i:02}")) {
        std::fs::create_dir_all(many.join(folder)).unwrap();
    }
    let long: Vec<String> = (0..200).map(|i| format!("{i}  {}", "colum  ".repeat(30))).collect();
    std::fs::write(workspace.concept().join("prompts/zz.txt"), long.join("\n")).unwrap();
    // How each is opened; keys pressed before the key, so that it has something to do.
    let path = many.join("images").display().to_string();
    let cases: [(&layers::Layer, ScreenName, &str, &str); 9] = [
        (&layers::HELP, ScreenName::Train, "?", "j"),
        (&layers::PALETTE, ScreenName::Train, ":", "j"),
        (&layers::FORM, ScreenName::Train, "t", "v"),
        (&layers::ENTRY, ScreenName::Samples, "p", "v"),
        (&layers::PICKER, ScreenName::Library, "n", "jj"),
        (&layers::QUESTION, ScreenName::Samples, "D", ""),
        (&layers::PICTURE, ScreenName::Concept, "\n", ">"),
        (&layers::PAGE, ScreenName::Concept, "", "jj>>"),
        (&layers::MASK, ScreenName::Concept, "d", "c >+"),
    ];
    for (layer, place, open, first) in cases {
        let concept = (place != ScreenName::Library).then_some("demo");
        for binding in layer.keys {
            for &code in binding.keys {
                let mut screen = Screen::open(&workspace, concept, place, SMALL);
                screen.text();
                for letter in open.chars() {
                    screen.press(match letter {
                        '\n' => KeyCode::Enter,
                        '\t' => KeyCode::Tab,
                        letter => KeyCode::Char(letter),
                    });
                }
                if layer.name == layers::PICKER.name {
                    screen.type_text(&path).press(KeyCode::Enter);
                }
                if layer.name == layers::PAGE.name {
                    for _ in 0..6 {
                        if screen.text().contains("▌Prompt lists") {
                            break;
                        }
                        screen.press(KeyCode::Tab);
                    }
                    screen.press(KeyCode::Down).press(KeyCode::Enter);
                }
                // What is zoomed is what was drawn.
                screen.text();
                for letter in first.chars() {
                    screen.press(match letter {
                        'j' | 'v' => KeyCode::Down,
                        '>' => KeyCode::Right,
                        letter => KeyCode::Char(letter),
                    });
                }
                match (layer.name, code) {
                    // Only a setting with few values is turned.
                    (name, KeyCode::Left | KeyCode::Right) if name == layers::FORM.name => {
                        screen.press(KeyCode::Up);
                    }
                    // Another tool, to come back from.
                    (name, KeyCode::Char('b')) if name == layers::MASK.name => {
                        screen.press(KeyCode::Char('e'));
                    }
                    _ => {}
                }
                let before = screen.text();
                let modifiers = if binding.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
                screen.send(Input::Key(KeyEvent::new(code, modifiers)));
                let takes = binding.shown == "Ctrl-S";
                assert!(
                    takes || screen.draw() != before,
                    "{}: {} ({code:?}) does nothing\n{before}",
                    layer.name,
                    binding.shown
                );
            }
        }
    }
}

#[test]
fn who_leaves_is_told_how_to_stop_what_goes_on_by_its_kind() {
    let workspace = Workspace::new();
    let run = workspace.run().train(230).write().hold();
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    let tell = |screen: &mut Screen, jobs: Vec<JobInfo>| {
        screen.tell(Message::Update(Update::Jobs(jobs)));
        screen.goes_on().unwrap_or_default()
    };
    for (kind, doing) in [(JobKind::Score, "scoring"), (JobKind::Sample, "sampling"), (JobKind::Mask, "making masks")] {
        let said = tell(&mut screen, queue(&run.folder, kind));
        assert!(said.contains(&format!("{doing} of demo goes on")), "{said}");
        assert!(said.contains("catbench jobs cancel 4") && !said.contains("catbench stop"), "{said}");
    }
    let said = tell(&mut screen, queue(&run.folder, JobKind::Train));
    assert!(said.contains("catbench stop demo") && said.contains("2 waiting"), "{said}");
    let waiting: Vec<_> =
        queue(&run.folder, JobKind::Train).into_iter().filter(|job| job.state == JobState::Queued).collect();
    let said = tell(&mut screen, waiting);
    assert!(said.starts_with("2 jobs wait in the queue") && said.contains("job 7: waits for cpu"), "{said}");
    assert_eq!(tell(&mut screen, Vec::new()), "");
}

#[test]
fn the_doctor_of_the_workbench_says_what_that_of_the_command_line_says() {
    let workspace = Workspace::new();
    let output = catbench(&workspace, &["doctor"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SIZES[1]);
    screen.text();
    screen.type_text(":doctor").press(KeyCode::Enter);
    let text = screen.wait_for("runner.log");
    for line in printed.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    for same in ["cores", "catbench-cuda", "daemon.log", "settings.toml", "theme"] {
        assert!(printed.contains(same) && text.contains(same), "{same}: {printed}\n{text}");
    }
}

#[test]
fn a_page_keeps_columns_and_shows_the_ends_of_rows() {
    let workspace = Workspace::new();
    let row = "1  train  teapot  running  ".to_owned() + &"x".repeat(70) + "  the last";
    std::fs::write(workspace.concept().join("prompts/demo.txt"), &row).unwrap();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    // The prompt list is the third pane.
    for _ in 0..4 {
        if screen.press(KeyCode::Tab).text().contains("▌Prompt lists") {
            break;
        }
    }
    screen.press(KeyCode::Enter);
    let text = screen.text();
    assert!(text.contains("1  train  teapot  running") && !text.contains("the last"), "{text}");
    screen.press(KeyCode::Right).press(KeyCode::Right);
    assert!(screen.text().contains("the last"), "{}", screen.text());
}
