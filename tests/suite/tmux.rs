//! Masks drawn in a real tmux, by keys and by the mouse events that a terminal sends. `.ci/run` installs tmux; where it is
//! missing the test says so.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use catbench::image::MaskCanvas;
use image::GrayImage;

use crate::common::{RUN, Workspace, short_folder, skipped};

/// Columns and rows; the picture has all rows but three.
const SIZE: (u16, u16) = (80, 24);

/// A cell of the screen, from 0.
type Cell = (u16, u16);

/// A server of its own with the workbench in its only window.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// None where there is no tmux.
    fn open(workspace: &Workspace) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skipped("tmux is not installed, so no mask was drawn in it: apt-get install tmux");
            return None;
        }
        let tmux = Self { folder: short_folder() };
        let settings = tmux.folder.path().join("tmux.conf");
        std::fs::write(&settings, "set -g status off\nset -g mouse on\nset -s escape-time 0\n").unwrap();
        let home = format!("CATBENCH_HOME={}", workspace.home().display());
        let (columns, rows) = (SIZE.0.to_string(), SIZE.1.to_string());
        let settings = settings.to_str().unwrap();
        let start = ["-f", settings, "new-session", "-d", "-x", &columns, "-y", &rows, "-e", &home];
        let program = format!("'{}' open demo", env!("CARGO_BIN_EXE_catbench"));
        let started = tmux.run(&[&start[..], &[&program]].concat());
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        Some(tmux)
    }

    fn run(&self, args: &[&str]) -> Output {
        let socket = self.folder.path().join("socket");
        Command::new("tmux").arg("-S").arg(socket).args(args).env_remove("TMUX").output().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.run(&["capture-pane", "-p"]).stdout).into_owned()
    }

    fn wait(&self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is(&self.text()) {
            assert!(Instant::now() < deadline, "it never came that {what}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for(&self, text: &str) {
        self.wait(&format!("{text:?} is there"), |screen| screen.contains(text));
    }

    fn wait_without(&self, text: &str) {
        self.wait(&format!("{text:?} is gone"), |screen| !screen.contains(text));
    }

    /// Keys as they are typed, or what a terminal sends for the mouse.
    fn press(&self, keys: &str) {
        assert!(self.run(&["send-keys", "-l", keys]).status.success());
    }

    /// The mouse with `button` (0 left, 2 right) down in the first cell, moved through the others and let go in the last.
    fn drag(&self, button: u8, cells: &[Cell]) {
        let place = |(column, row): Cell| format!("{};{}", column + 1, row + 1);
        let moved = cells[1..].iter().map(|&cell| format!("\x1b[<{};{}M", button + 32, place(cell)));
        let (down, up) = (place(cells[0]), place(cells[cells.len() - 1]));
        let sent = format!("\x1b[<{button};{down}M{}\x1b[<{button};{up}m", moved.collect::<String>());
        self.press(&sent);
    }

    fn save(&self) {
        self.wait_for("not saved");
        self.press("S");
        self.wait_without("not saved");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// The pixel of a picture of 64 × 64 that all is seen of at this cell: 80 × 21 cells have 80 × 42 pixels.
fn pixel((column, row): Cell) -> (u32, u32) {
    let scale = 42.0 / 64.0;
    let x = (f64::from(column) + 0.5 - 40.0) / scale + 32.0 - 0.5;
    let y = (f64::from(row) * 2.0 + 1.0 - 21.0) / scale + 32.0 - 0.5;
    (x.round() as u32, y.round() as u32)
}

fn mask(path: &PathBuf) -> GrayImage {
    image::open(path).unwrap().into_luma8()
}

#[test]
fn masks_of_a_photo_and_of_a_sample_are_drawn_in_tmux() {
    let workspace = Workspace::new();
    workspace.sampling(2, 2).end(catbench::protocol::Event::Finished { seconds: 1.0 }).write();
    let photo = workspace.concept().join("masks/beach.png");
    std::fs::remove_file(&photo).unwrap();
    let Some(tmux) = Tmux::open(&workspace) else { return };
    tmux.wait_for("5, 4 with a mask");
    tmux.press("d");
    tmux.wait_for("1 of 5 without a mask");
    let mut expected = MaskCanvas::new(GrayImage::new(64, 64));

    // A lasso with the left button, a rectangle taken out of it with the right one.
    let lasso = [(24, 3), (54, 4), (50, 17), (30, 15)];
    tmux.press("o");
    tmux.drag(0, &lasso);
    let mut corners: Vec<(u32, u32)> = lasso.map(pixel).to_vec();
    expected.lasso(&corners, 255);
    tmux.save();
    assert_eq!(mask(&photo), *expected.mask(), "the lasso");
    tmux.press("r");
    tmux.drag(2, &[(34, 6), (41, 10)]);
    expected.rectangle(pixel((34, 6)), pixel((41, 10)), 0);
    tmux.save();
    assert_eq!(mask(&photo), *expected.mask(), "the rectangle");

    // Zoomed in about a cell, its pixel is still under it: the wand takes what is like it.
    let cell = (28, 2);
    let wheel = format!("\x1b[<64;{};{}M", cell.0 + 1, cell.1 + 1);
    tmux.press(&format!("cw{}", wheel.repeat(6)));
    tmux.drag(0, &[cell]);
    let picture = image::open(workspace.concept().join("images/beach.png")).unwrap().into_rgb8();
    expected.fill(0);
    expected.wand(&picture, pixel(cell), 24, 255);
    tmux.save();
    assert_eq!(mask(&photo), *expected.mask(), "the wand");
    // With the key that subtracts, a lasso by keys: corners where the pointer is, Enter closes it.
    tmux.press(&format!("{}ot", wheel.replace("<64", "<65").repeat(7)));
    tmux.wait_for("subtract");
    corners = [(30, 5), (40, 5), (40, 9)].map(pixel).to_vec();
    tmux.drag(0, &[(30, 5)]);
    tmux.drag(0, &[(40, 5)]);
    // How many corners there are.
    tmux.wait_for("subtract  2");
    tmux.drag(0, &[(40, 9)]);
    expected.lasso(&corners, 0);
    tmux.save();
    assert_eq!(mask(&photo), *expected.mask(), "what is subtracted");
    tmux.press("\x1b");
    tmux.wait_for("5, 5 with a mask");

    // A sample: a rectangle, grown by a pixel.
    tmux.press("5");
    tmux.wait_for("001.png");
    tmux.press("d");
    tmux.wait_for("2 of 2 without a mask");
    tmux.press("r");
    tmux.drag(0, &[(36, 8), (43, 12)]);
    tmux.press("g");
    tmux.wait_for("grown by 1 px");
    tmux.save();
    let (from, to) = (pixel((36, 8)), pixel((43, 12)));
    let folder = workspace.concept().join("samples").join(RUN).join("masks");
    let names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let drawn = mask(&names[0]);
    assert_eq!(drawn.dimensions(), (64, 64));
    for (x, y, value) in drawn.enumerate_pixels() {
        let inside = (from.0 - 1..=to.0 + 1).contains(&x) && (from.1 - 1..=to.1 + 1).contains(&y);
        assert_eq!(value.0[0] == 255, inside, "{x}, {y}");
    }
}
