//! The workbench in a real pseudo-terminal: it opens, answers keys, and leaves the terminal as it was.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{self, Workspace};
use crate::sam;
use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

/// A terminal with the workbench in it.
struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn portable_pty::MasterPty + Send>,
    /// Nobody reads any more: the terminal can be closed.
    left: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<()>,
    opened: Instant,
}

impl Terminal {
    fn open(workspace: &Workspace, environment: &[(&str, &str)]) -> Self {
        Self::run(workspace, &["open", "demo"], environment)
    }

    /// The workbench in its library, once it has been told all that the daemon knows, and only listens to it.
    fn open_and_told(workspace: &Workspace) -> Self {
        let terminal = Self::run(workspace, &["open"], &[]);
        terminal.wait_for("Concepts (1)");
        let clients = || common::json(workspace, &["daemon", "status"])["daemon"]["clients"].as_u64();
        common::wait_until("it listens, and nobody asks more", || clients() == Some(2));
        terminal
    }

    fn run(workspace: &Workspace, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_catbench"));
        command.args(arguments);
        command.env("CATBENCH_HOME", workspace.home());
        Self::start(command, environment)
    }

    fn start(mut command: CommandBuilder, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        command.env("TERM", "xterm-256color");
        for name in ["TMUX", "STY", "NO_COLOR", "COLORTERM", "SSH_CONNECTION", "CATBENCH_IMAGES"] {
            command.env_remove(name);
        }
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let opened = Instant::now();
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let (to_parser, to_written) = (Arc::clone(&parser), Arc::clone(&written));
        let left = Arc::new(AtomicBool::new(false));
        let leaves = Arc::clone(&left);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok(n) = output.read(&mut bytes) {
                if n == 0 || leaves.load(Ordering::Relaxed) {
                    break;
                }
                // First: who has seen it on the screen looks for it here.
                to_written.lock().unwrap().extend_from_slice(&bytes[..n]);
                to_parser.lock().unwrap().process(&bytes[..n]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { parser, written, keyboard, child, master: pair.master, left, reader, opened }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Wait until the screen holds `text`.
    fn wait_for(&self, text: &str) -> Duration {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.opened.elapsed()
    }

    /// Wait until the screen no longer holds `text`.
    fn wait_without(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.text().contains(text) {
            assert!(Instant::now() < deadline, "still {text:?} in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Wait until nothing was written for a second.
    fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut written, mut since) = (self.bytes_written(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            assert!(Instant::now() < deadline, "it never rests:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
            if self.bytes_written() != written {
                (written, since) = (self.bytes_written(), Instant::now());
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Wait for the end; the terminal must be as it was.
    fn ended(mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.wait_until_given_back();
    }

    /// Wait until the terminal is as it was: its last words may still be on their way.
    fn wait_until_given_back(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let kept = {
                let parser = self.parser.lock().unwrap();
                let modes = format!("{:?}", self.master.get_termios().unwrap().local_flags);
                [
                    (parser.screen().alternate_screen(), "the alternate screen is still on"),
                    (parser.screen().hide_cursor(), "the cursor is still hidden"),
                    (!modes.contains("ICANON"), "raw mode is still on"),
                ]
                .map(|(kept, what)| kept.then_some(what))
            };
            if kept == [None; 3] {
                return;
            }
            assert!(Instant::now() < deadline, "{kept:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the system says of the process, from its state on.
    fn stat(&self) -> Vec<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id().unwrap())).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').map(str::to_owned).collect()
    }

    /// How much of the processor it has taken, all threads together, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let fields = self.stat();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn bytes_written(&self) -> usize {
        self.written.lock().unwrap().len()
    }
}

#[test]
fn it_opens_answers_keys_and_leaves_the_terminal_as_it_was() {
    let workspace = Workspace::new();
    workspace.run().train(120).end(catbench::protocol::Event::Stopped { step: 120 }).write();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("a kind of teapot");
    terminal.wait_for("▀");
    terminal.press("3");
    terminal.wait_for("stopped at step 120 of 500");
    terminal.press("?");
    terminal.wait_for("Esc goes back");
    // Escape and a key that follow at once would be one key, with Alt.
    terminal.press("\x1b");
    terminal.wait_without("Esc goes back");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn leaving_a_running_training_says_what_goes_on() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(120).write().hold();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.press("3");
    terminal.wait_for("training 120/500");
    terminal.press("q");
    // Said in the terminal that was given back, maybe after the program has ended.
    terminal.wait_for("training of demo goes on in the background (step 120 of 500)");
    terminal.wait_for("catbench watch demo");
    terminal.wait_for("catbench stop demo");
    terminal.ended();
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    terminal.press("\x1a");
    // One that goes on before it has stopped would stop for good.
    common::wait_until("it stops", || terminal.stat()[0] == "T");
    terminal.wait_until_given_back();
    terminal.signal("CONT");
    terminal.wait_for("Photos");
    terminal.press("?");
    terminal.wait_for("Esc goes back");
    terminal.press("q");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn sigterm_leaves_the_terminal_sane() {
    let workspace = Workspace::new();
    let terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    terminal.wait_for("commands");
    // Also when it has just drawn its first frame, and still waits for what the terminal says of itself.
    terminal.signal("TERM");
    terminal.ended();
}

#[test]
fn a_hangup_ends_it_and_leaves_the_terminal_sane() {
    let workspace = Workspace::new();
    let terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("ready to train");
    terminal.signal("HUP");
    terminal.ended();
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("ready to train");
    // What comes next wakes the reader, which lets go of the terminal.
    terminal.left.store(true, Ordering::Relaxed);
    terminal.press("?");
    let Terminal { keyboard, mut child, master, reader, .. } = terminal;
    reader.join().unwrap();
    drop(keyboard);
    drop(master);
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on without a terminal");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Not a test of its own: the program of the next one.
#[test]
#[ignore = "panics: it is run by a_panic_gives_the_terminal_back"]
fn panics_while_it_has_the_terminal() {
    let _screen = catbench::tui::Screen::take().unwrap();
    let other = std::thread::spawn(|| panic!("a fault in some thread"));
    let _ = other.join();
    unreachable!("the panic of any thread ends the program");
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "pty::panics_while_it_has_the_terminal"]);
    let mut terminal = Terminal::start(command, &[]);
    let ended = terminal.child.wait().unwrap();
    assert_eq!(ended.exit_code(), 101);
    terminal.wait_for("a fault in some thread");
    let written = String::from_utf8_lossy(&terminal.written.lock().unwrap()).into_owned();
    assert!(written.contains("\x1b[?1049h"), "it had the terminal");
    terminal.wait_until_given_back();
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    for (rows, cols) in [(40, 120), (10, 40), (24, 80)] {
        terminal.parser.lock().unwrap().screen_mut().set_size(rows, cols);
        terminal.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        terminal.wait_for(if cols < 60 { "too small" } else { "Photos" });
    }
    terminal.press("q");
    terminal.ended();
}

#[test]
fn idle_it_writes_nothing_and_takes_no_processor() {
    let workspace = Workspace::new();
    // What comes of a daemon that begins late is none of its idleness.
    let mut terminal = Terminal::open_and_told(&workspace);
    terminal.press("\r");
    terminal.wait_for("ready to train");
    // Its pictures come after the text, as late as the machine's other work makes them.
    terminal.wait_for("▀");
    terminal.settle();
    let before = terminal.bytes_written();
    // A tick is 10 ms: one in 2 s is 0.5 %. What it does, it does in each of three times; what its machine does, not.
    let taken = [(); 3].map(|()| {
        let ticks = terminal.ticks();
        std::thread::sleep(Duration::from_secs(2));
        terminal.ticks() - ticks
    });
    assert_eq!(terminal.bytes_written(), before);
    assert!(taken.iter().any(|taken| *taken <= 1), "{taken:?} ticks of the processor in 2 s each");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_terminal_that_answers_no_question_is_no_obstacle() {
    let workspace = Workspace::new();
    let opened = [(); 3].map(|()| {
        // Nobody answers in this pseudo-terminal, whatever is asked.
        let mut terminal = Terminal::open(&workspace, &[("TERM", "xterm-kitty")]);
        let opened = terminal.wait_for("Photos");
        terminal.wait_for("▀");
        terminal.press("q");
        terminal.ended();
        opened
    });
    // The first frame is drawn before anything is asked, so a silent terminal delays only pictures. What waited for an
    // answer would wait each time; other work of the machine delays now one, now another.
    assert!(opened.iter().any(|opened| *opened < Duration::from_secs(1)), "{opened:?}");
}

#[test]
fn no_color_is_respected() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[("NO_COLOR", "1")]);
    terminal.wait_for("ready to train");
    terminal.wait_for("▓");
    terminal.press("q");
    let written = Arc::clone(&terminal.written);
    terminal.ended();
    let written = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    assert!(!written.contains("\x1b[38;") && !written.contains("\x1b[48;"), "colours were written");
}

#[test]
fn the_whole_journey_by_keys_from_a_folder_of_photos_to_a_comparison() {
    let workspace = Workspace::with_models();
    let photos = workspace.home().join("photos");
    std::fs::create_dir_all(&photos).unwrap();
    for photo in std::fs::read_dir(workspace.concept().join("images")).unwrap().flatten() {
        std::fs::copy(photo.path(), photos.join(photo.file_name())).unwrap();
    }
    let mut terminal = Terminal::run(&workspace, &["open"], &[]);
    terminal.wait_for("Concepts (1)");
    // A new concept: its folder is found, then what it is.
    terminal.press("n");
    terminal.wait_for("the folder of its photos");
    terminal.press(&format!("{}\r", photos.display()));
    terminal.wait_for("5 photos here");
    terminal.press("\x13");
    terminal.wait_for("class word");
    terminal.press("\x15mug\r");
    terminal.press("cup\r");
    terminal.press(&format!("\x15{}\r", common::fixture("tiny_sd1").display()));
    terminal.press(&format!("{}\r", common::fixture("tiny_clip").display()));
    terminal.press(&format!("{}", workspace.concept().join("masks").display()));
    terminal.wait_for("5 photos will be copied");
    terminal.press("\r");
    terminal.wait_for("a kind of cup");
    terminal.wait_for("ready to train");
    // Two trainings that differ in one setting.
    for (steps, run) in [("4", 1), ("6", 2)] {
        terminal.press("2");
        terminal.wait_for("Prompt lists");
        terminal.press("t");
        terminal.wait_for("What it needs");
        terminal.press(&format!("\x1b[B\x1b[B\x15{steps}"));
        terminal.wait_for(&format!("{steps} × 4 images"));
        terminal.press("\r");
        terminal.wait_for(&format!("{steps} steps"));
        terminal.wait_for("finished in");
        terminal.press("2");
        common::wait_until("the run is listed", || {
            common::json(&workspace, &["runs", "mug"])["runs"].as_array().unwrap().len() == run
        });
    }
    // Pictures of it, seen as thumbnails, then one of them alone.
    terminal.press("5");
    terminal.wait_for("Samples of mug");
    terminal.wait_for("This one");
    terminal.press("\r");
    terminal.wait_for("Esc back");
    terminal.press("\x1b");
    terminal.wait_without("Esc back");
    // More of them, of a prompt that is typed.
    terminal.press("p");
    terminal.wait_for("Sample run");
    terminal.press("\x15a {concept} on a beach\r\x151\r");
    terminal.press("\r\x153\r\r");
    terminal.wait_for("1 picture of 1 prompt");
    terminal.press("\r\r\r");
    terminal.wait_for("queue them");
    terminal.press("y");
    terminal.wait_for("job 3");
    common::wait_until("it is sampled", || common::jobs(&workspace).iter().all(|job| job.state.is_over()));
    assert!(common::jobs(&workspace).iter().any(|job| job.kind == Some(catbench::protocol::JobKind::Sample)));
    // The first run was measured at its end; measured again, its scores stay.
    terminal.press("6");
    terminal.wait_for("Runs of mug");
    terminal.wait_for("95 % intervals");
    terminal.press("m");
    terminal.wait_for("job 4");
    terminal.press("7");
    terminal.wait_for("score");
    common::wait_until("it is scored", || common::jobs(&workspace).iter().all(|job| job.state.is_over()));
    // Both runs over each other, with what differs.
    terminal.press("4");
    terminal.wait_for("Scores and settings");
    terminal.wait_for("steps");
    terminal.wait_for("The same prompt and seed");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_storm_of_sizes_and_keys_leaves_it_whole() {
    let workspace = Workspace::new();
    workspace.run().train(300).evaluate().end(catbench::protocol::Event::Finished { seconds: 9.0 }).write();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    for i in 0..60u16 {
        let (rows, cols) = (4 + i * 7 % 60, 20 + i * 13 % 180);
        terminal.parser.lock().unwrap().screen_mut().set_size(rows, cols);
        terminal.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        terminal.press(["3", "j", "\t", "5", "l", "4", "6", "7", "1", "2"][usize::from(i) % 10]);
        std::thread::sleep(Duration::from_millis(10));
    }
    terminal.parser.lock().unwrap().screen_mut().set_size(24, 80);
    terminal.master.resize(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }).unwrap();
    terminal.press("2");
    terminal.wait_for("Prompt lists");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn where_it_was_left_is_where_it_opens_again() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::run(&workspace, &["open"], &[]);
    terminal.wait_for("Concepts (1)");
    terminal.press("\r");
    terminal.wait_for("Prompt lists");
    terminal.press("6");
    terminal.wait_for("Runs of demo");
    terminal.press("q");
    terminal.ended();
    let mut terminal = Terminal::run(&workspace, &["open"], &[]);
    terminal.wait_for("Runs of demo");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn points_in_the_mask_editor_make_a_mask_while_it_goes_on_answering() {
    let workspace = Workspace::new();
    let mask = workspace.concept().join("masks/beach.png");
    std::fs::remove_file(&mask).unwrap();
    let mut terminal = Terminal::open(&workspace, &[("COLORTERM", "truecolor")]);
    terminal.wait_for("5, 4 with a mask");
    terminal.press("da ");
    terminal.wait_for("names no sam_model");
    terminal.press("\x1b");
    terminal.wait_for("5, 4 with a mask");
    terminal.press("q");
    terminal.ended();

    sam::file("vit", &workspace.concept());
    let path = workspace.concept().join("concept.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{toml}sam_model = \"vit.safetensors\"\n")).unwrap();
    let mut terminal = Terminal::open(&workspace, &[("COLORTERM", "truecolor")]);
    terminal.wait_for("5, 4 with a mask");
    terminal.press("dx ");
    terminal.wait_for("a point on the concept comes first");
    terminal.press("a\x1b[<0;36;10M\x1b[<0;36;10m");
    terminal.wait_for("segmenting");
    terminal.press("l");
    terminal.wait_for("not saved");
    terminal.press("S");
    terminal.wait_without("not saved");
    terminal.press("x\x1b[<0;50;16M\x1b[<0;50;16m");
    terminal.wait_for("not saved");
    let says = |key: &str| {
        let text = catbench::image::read_png_text(&mask).unwrap();
        text.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    };
    terminal.press("S");
    terminal.wait_for("beach.png");
    terminal.wait_without("not saved");
    assert_eq!(image::open(&mask).unwrap().into_luma8().dimensions(), (64, 64));
    assert_eq!(says("mask_made_by").as_deref(), Some("segment_anything"));
    assert!(says("not_points").unwrap().contains(','), "the second point");
    // The first point alone again, and a stroke over it.
    terminal.press("u");
    terminal.wait_for("not saved");
    terminal.press("S");
    terminal.wait_without("not saved");
    assert_eq!((says("mask_made_by").as_deref(), says("not_points").as_deref()), (Some("segment_anything"), Some("")));
    terminal.press("b i");
    terminal.wait_for("not saved");
    terminal.press("S");
    terminal.wait_without("not saved");
    assert_eq!(says("mask_made_by").as_deref(), Some("hand"));
    assert!(says("points").is_some(), "what it was drawn over");
    terminal.press("\x1b");
    terminal.wait_for("5, 5 with a mask");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_command_of_the_command_line_is_done_from_the_palette() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    terminal.press(":concept tag demo blue\r");
    terminal.wait_for("✓ done");
    terminal.press("\x1b");
    // Escape and a key that follow at once would be one key, with Alt; the tag may be there before.
    terminal.wait_without("✓ done");
    terminal.wait_for("#blue");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_mask_drawn_with_mouse_and_keys_is_saved_with_the_expected_pixels() {
    let workspace = Workspace::new();
    std::fs::remove_file(workspace.concept().join("masks/beach.png")).unwrap();
    let mut terminal = Terminal::open(&workspace, &[("COLORTERM", "truecolor")]);
    terminal.wait_for("5, 4 with a mask");
    terminal.press("d");
    terminal.wait_for("1 of 5 without a mask");
    // A rectangle, dragged from the middle of one cell to that of another. 80 x 21 cells have 80 x 42 pixels.
    let (from, to) = ((30, 6), (47, 14));
    let cell = |(column, row): (u16, u16)| format!("{};{}", column + 1, row + 1);
    terminal.press("r");
    terminal.press(&format!("\x1b[<0;{}M\x1b[<32;{}M\x1b[<0;{}m", cell(from), cell(to), cell(to)));
    terminal.wait_for("not saved");
    // Then its inside is erased with keys, where the pointer is.
    terminal.press("e[[[[[[[[ ");
    terminal.press("S");
    terminal.wait_for("beach.png");
    terminal.wait_without("not saved");
    let scale = 42.0 / 64.0;
    let pixel = |(column, row): (u16, u16)| {
        let x = (f64::from(column) + 0.5 - 40.0) / scale + 32.0 - 0.5;
        let y = (f64::from(row) * 2.0 + 1.0 - 21.0) / scale + 32.0 - 0.5;
        (x.round() as u32, y.round() as u32)
    };
    let ((left, top), (right, bottom)) = (pixel(from), pixel(to));
    let mask = image::open(workspace.concept().join("masks/beach.png")).unwrap().into_luma8();
    assert_eq!(mask.dimensions(), (64, 64));
    for (x, y, value) in mask.enumerate_pixels() {
        let inside = (left..=right).contains(&x) && (top..=bottom).contains(&y);
        let erased = (x, y) == (right, bottom);
        assert_eq!(value.0[0] == 255, inside && !erased, "{x}, {y}");
    }
    // Undone twice there is nothing, and what is not saved is asked about.
    terminal.press("uu");
    terminal.wait_for("0.0 % marked, not saved");
    terminal.press("\x1b");
    terminal.wait_for("Esc again drops it");
    terminal.press("\x1b");
    terminal.wait_for("5, 5 with a mask");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_daemon_that_was_stopped_stays_so_beside_an_open_workbench() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open_and_told(&workspace);
    let daemon = |what: &str| common::catbench(&workspace, &["daemon", what]).output().unwrap().status.success();
    assert!(daemon("stop"));
    terminal.wait_for("was stopped");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!daemon("status"), "the workbench has started it again");
    assert!(daemon("start"));
    terminal.wait_without("was stopped");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn under_a_busy_daemon_of_another_protocol_the_workbench_reads_and_says_so() {
    let workspace = Workspace::new();
    let run = workspace.run().train(60).write().hold();
    common::queue_file(&workspace, 1, &format!("demo/runs/{}", common::RUN));
    common::later_daemon(&workspace, 1, 0);
    let mut terminal = Terminal::run(&workspace, &["open"], &[]);
    terminal.wait_for("catbench 9.9");
    terminal.wait_for("teapot");
    terminal.press("\r");
    terminal.wait_for("60/500");
    terminal.press("q");
    terminal.ended();
    drop(run);
}
