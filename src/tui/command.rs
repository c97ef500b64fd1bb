//! A command of the command line, run from the palette: a process of its own, whose words come line by line.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use crate::workspace::Home;

/// A command that runs. Dropped, it is told to leave, as by Ctrl-C: a job that it follows goes on.
pub struct Running {
    child: Arc<Mutex<Child>>,
}

impl Running {
    /// Run `program`, which is catbench, with these words in `home`, and `tell` what it writes.
    pub fn start(
        program: &Path,
        home: &Home,
        words: &[String],
        tell: impl Fn(Vec<String>) + Send + Clone + 'static,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(words)
            .env("CATBENCH_HOME", home.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        let readers: Vec<_> = outputs
            .into_iter()
            .flatten()
            .map(|output| {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    for line in BufReader::new(output).lines() {
                        match line {
                            Ok(line) => tell(vec![line]),
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        let child = Arc::new(Mutex::new(child));
        let waited = Arc::clone(&child);
        std::thread::spawn(move || {
            readers.into_iter().for_each(|reader| drop(reader.join()));
            let ended = waited.lock().unwrap_or_else(PoisonError::into_inner).wait();
            tell(vec![match ended {
                Ok(status) if status.success() => "✓ done".into(),
                Ok(status) => format!("✗ {status}"),
                Err(error) => format!("✗ {error}"),
            }]);
        });
        Ok(Self { child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(None) = child.try_wait()
            && let Some(pid) = Pid::from_raw(child.id() as i32)
        {
            // One that ends at this very moment needs no telling.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}
