//! Every row of the table of keys does something where it stands: after one of a few beginnings, what is seen changes.

use catbench::protocol::{Event, JobKind};
use catbench::tui::keymap::{BINDINGS, Binding, overlays as layers};
use catbench::tui::{Message, Next, ScreenName, Update};
use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;

use super::{SMALL, finished, queue};
use crate::common::{RUN, Workspace, give_mask};
use crate::screen::Screen;

use KeyCode::{Char, Down, End, Enter, Right, Tab, Up};

/// A key of a beginning.
type Key = (KeyCode, KeyModifiers);

/// Keys without Ctrl.
fn plain(keys: &[KeyCode]) -> Vec<Key> {
    keys.iter().map(|key| (*key, KeyModifiers::NONE)).collect()
}

/// Two concepts, each of which has two runs with pictures and scores, and a sampling whose pictures have masks.
fn home() -> Workspace {
    let workspace = finished();
    let sampling = workspace.sampling(8, 8).end(Event::Finished { seconds: 1.0 }).write();
    let masks: Vec<_> = (0..8).map(|i| give_mask(&sampling.folder.join(format!("{i:03}.png")), Some("0.4"))).collect();
    std::fs::remove_file(&masks[3]).unwrap();
    let runs = workspace.concept().join("runs");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        assert!(std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    };
    // Longer and wider than a page, in columns.
    let spec = runs.join(RUN).join("run.toml");
    let lines = format!("# {}\n", "a long  line ".repeat(20)).repeat(60);
    std::fs::write(&spec, std::fs::read_to_string(&spec).unwrap() + &lines).unwrap();
    copy(&runs.join(RUN), &runs.join("20261123-170000-q2w9"));
    copy(&workspace.concept(), &workspace.home().join("pot"));
    std::fs::write(workspace.concept().join("prompts/second.txt"), "a {concept}\n").unwrap();
    workspace
}

fn open(workspace: &Workspace, place: ScreenName) -> Screen {
    let concept = (place != ScreenName::Library).then_some("demo");
    let mut screen = Screen::open(workspace, concept, place, SMALL);
    screen.text();
    if place == ScreenName::Jobs {
        let jobs = queue(&workspace.concept().join("runs").join(RUN), JobKind::Train);
        screen.tell(Message::Update(Update::Jobs(jobs)));
    }
    screen
}

fn send(screen: &mut Screen, (code, modifiers): Key) {
    screen.send(Input::Key(KeyEvent::new(code, modifiers)));
    // What it opens may have to be asked for.
    screen.text();
}

/// Whether a key of `binding` changes what is seen after one of the beginnings.
fn does_something(binding: &Binding, beginnings: &[Vec<Key>], open: impl Fn() -> Screen) -> bool {
    let modifiers = if binding.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
    let Some(key) = binding.keys.first() else { return true };
    beginnings.iter().any(|beginning| {
        let mut screen = open();
        beginning.iter().for_each(|key| send(&mut screen, *key));
        let before: Buffer = screen.cells();
        send(&mut screen, (*key, modifiers));
        matches!(screen.last, Next::Quit | Next::Suspend) || screen.cells() != before
    })
}

#[test]
fn every_key_of_a_screen_does_something_there() {
    let workspace = home();
    let beginnings: Vec<Vec<Key>> = [
        vec![],
        vec![Down],
        vec![Right],
        vec![Down, Down],
        vec![Char('+'), Char('+')],
        vec![Char('[')],
        vec![Char('f')],
        vec![Tab],
        vec![Tab, Right],
        vec![Tab, Tab, Right],
        vec![Tab, Tab, Tab, Right],
    ]
    .iter()
    .map(|keys| plain(keys))
    .collect();
    let acts = |binding: &Binding, place: ScreenName| does_something(binding, &beginnings, || open(&workspace, place));
    let words = |binding: &Binding, place: Option<ScreenName>| {
        format!("{}: {} ({:?})", place.map_or("everywhere", ScreenName::word), binding.shown, binding.action)
    };
    let mut idle = Vec::new();
    for binding in BINDINGS {
        if binding.places.is_empty() {
            // Some have nothing to do on some screens: there Tab has one pane only.
            if !ScreenName::ALL.into_iter().any(|place| acts(binding, place)) {
                idle.push(words(binding, None));
            }
            continue;
        }
        idle.extend(binding.places.iter().filter(|place| !acts(binding, **place)).map(|p| words(binding, Some(*p))));
    }
    assert!(idle.is_empty(), "{idle:#?}");
}

#[test]
fn every_key_of_what_lies_over_a_screen_does_something_there() {
    let typed = |text: &str| plain(&text.chars().map(Char).collect::<Vec<_>>());
    let mut idle = Vec::new();
    for layer in layers::ALL {
        // One of its own: some take away what others need.
        let workspace = home();
        // Where it is opened, and by which keys.
        let (place, keys): (ScreenName, Vec<Key>) = match layer.name {
            "Settings of a training" => (ScreenName::Train, plain(&[Char('t')])),
            "Lines to fill in" | "Text that is typed" => (ScreenName::Concept, plain(&[Char('p')])),
            "Text of several lines" => (ScreenName::Concept, plain(&[Char('e')])),
            "The words of a filter" => (ScreenName::Library, [plain(&[Char('/')]), typed("po")].concat()),
            "Finding a folder" => {
                let photos = typed(&workspace.concept().join("images").display().to_string());
                (ScreenName::Library, [plain(&[Char('n')]), photos, plain(&[Enter])].concat())
            }
            "Commands" => (ScreenName::Library, plain(&[Char(':')])),
            "A question" => (ScreenName::Library, plain(&[Char('D')])),
            "Mask editor" => (ScreenName::Samples, plain(&[Char('d')])),
            "A picture alone" => (ScreenName::Train, plain(&[Tab, Enter])),
            "A page of text" => (ScreenName::Train, plain(&[Char('c')])),
            "This page" => (ScreenName::Library, plain(&[Char('?')])),
            other => panic!("{other}: say how it is opened"),
        };
        let mut beginnings = vec![
            vec![],
            plain(&[Down, Down]),
            plain(&[Right]),
            plain(&[KeyCode::Left]),
            plain(&[KeyCode::Left, Down]),
            plain(&[End]),
            plain(&[End, Right]),
            plain(&[Char(' '), Right, Right, Char(' ')]),
            plain(&[Char(' '), Char('u')]),
            plain(&[Char('+'), Char('+')]),
        ];
        // Elsewhere these may close it.
        if !layer.has_letters() {
            beginnings.push(typed("an odd word"));
            beginnings.push([typed("an odd word"), plain(&[KeyCode::Home])].concat());
        }
        if layer.name == "Text of several lines" {
            beginnings.push(plain(&[Enter; 30]));
            beginnings.push(plain(&[[Enter; 30].as_slice(), &[KeyCode::PageUp, Up, Up]].concat()));
        }
        let beginnings: Vec<Vec<Key>> = beginnings.into_iter().map(|more| [keys.clone(), more].concat()).collect();
        let mut opened = open(&workspace, place);
        keys.iter().for_each(|key| send(&mut opened, *key));
        assert_ne!(opened.text(), open(&workspace, place).text(), "{} is not opened by {keys:?}", layer.name);
        for binding in layer.keys {
            if !does_something(binding, &beginnings, || open(&workspace, place)) {
                idle.push(format!("{}: {} ({:?})", layer.name, binding.shown, binding.action));
            }
        }
    }
    assert!(idle.is_empty(), "{idle:#?}");
}
