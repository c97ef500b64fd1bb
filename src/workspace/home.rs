//! The folder of all concepts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::is_there;
use super::{Concept, Error};
use crate::fs::{Show, check_folder, own_uid, user};

/// The folder that is taken as the home where it lies beside the user.
const BESIDE: &str = "workspaces";

/// The folder of a home that protocols are in.
pub(super) const PROTOCOLS: &str = "protocols";

/// Check that `folder`, if it is there, is this user's, and that nobody else can write to it.
fn check_own(folder: &Path) -> Result<(), String> {
    let Ok(found) = folder.symlink_metadata() else { return Ok(()) };
    if found.uid() != own_uid() {
        let problem = format!("{} belongs to {}", folder.shown(), user(found.uid()));
        return Err(format!("{problem}: name a home of your own in CATBENCH_HOME"));
    }
    match check_folder(folder) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(wrong)) => Err(format!("{}: {}", wrong.problem, wrong.remedy)),
        Err(error) => Err(format!("{}: {error}", folder.shown())),
    }
}

/// What a variable of the environment names.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder of all concepts: `$CATBENCH_HOME`, else `./workspaces` where it is this user's alone, else `catbench` in the
/// user's data folder (`$XDG_DATA_HOME` or `~/.local/share`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home of this process, absolute. It need not exist yet.
    ///
    /// # Errors
    /// Somebody whom this user does not trust can put something into it or in its place.
    pub fn locate() -> Result<Self, Error> {
        if let Some(path) = set("CATBENCH_HOME") {
            return Self::at(&path)?.checked();
        }
        match Self::beside() {
            Some(Ok(home)) => Ok(home),
            _ => Self::of_user()?.checked(),
        }
    }

    /// Why `./workspaces` is not taken, though it is there; none where it is, or where another is named.
    pub fn passed_over() -> Option<String> {
        let problem = Self::beside().filter(|_| set("CATBENCH_HOME").is_none())?.err()?;
        let taken = Self::of_user().map(|home| format!(", {} is", home.path.shown())).unwrap_or_default();
        Some(format!("./{BESIDE} is not taken as the home{taken}: {problem}"))
    }

    /// `./workspaces`, or why it is not taken by itself; none where it is not there. It may have come with somebody's data, so it
    /// and what is the program's own in it must be this user's.
    fn beside() -> Option<Result<Self, String>> {
        let path = Path::new(BESIDE);
        let home = path.is_dir().then(|| Self::at(path).map_err(|error| error.to_string()))?;
        Some(home.and_then(|home| {
            let link = path.symlink_metadata().map_or(own_uid(), |found| found.uid());
            if link != own_uid() {
                return Err(format!("{} has made this link: name a home in CATBENCH_HOME", user(link)));
            }
            check_own(&home.path)?;
            check_own(&home.internal())?;
            Ok(home)
        }))
    }

    /// The home of those who name none.
    fn of_user() -> Result<Self, Error> {
        if let Some(data) = set("XDG_DATA_HOME") {
            Self::at(&data.join("catbench"))
        } else if let Some(home) = set("HOME") {
            Self::at(&home.join(".local/share/catbench"))
        } else {
            Err(Error::invalid(Path::new("~"), "no home folder is known", "set CATBENCH_HOME"))
        }
    }

    /// This home, unless somebody whom this user does not trust can put something into it or in its place, or `sudo` would make
    /// something in a folder of its user, who could then do nothing there.
    fn checked(self) -> Result<Self, Error> {
        if let Some(owner) = self.other_owner().filter(|_| own_uid() == 0 && set("SUDO_UID").is_some()) {
            let problem = format!("this is in a folder of {owner}, and with sudo you are root");
            let remedy = format!("run it without sudo: what root makes here {owner} cannot use");
            return Err(Error::invalid(&self.path, problem, remedy));
        }
        match check_folder(&self.path).map_err(Error::io("read", &self.path))? {
            Ok(()) => self.check_internal().map(|()| self),
            Err(wrong) => Err(Error::invalid(&self.path, wrong.problem, wrong.remedy)),
        }
    }

    /// The home at `path`, by its one true name: clients that come by a link, or with a slash at the end, meet the same daemon.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        if path.to_str().is_none() {
            // Settings, records and messages name files in it as text.
            let remedy = "name a home whose path is valid UTF-8, as in CATBENCH_HOME=~/catbench";
            return Err(Error::invalid(&path, "the home's path is not text (UTF-8)", remedy));
        }
        // What does not exist yet has the name that it will have.
        let there = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
        let Some((folder, real)) = there else { return Ok(Self { path }) };
        let rest = path.strip_prefix(folder).unwrap_or(Path::new(""));
        Ok(Self { path: real.components().chain(rest.components()).collect() })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the program's own files are: store, queue, models, settings, trash, socket, log. Closed to other users.
    pub fn internal(&self) -> PathBuf {
        self.path.join(".catbench")
    }

    /// The folder of its queue.
    pub fn queue(&self) -> PathBuf {
        self.internal().join("queue")
    }

    /// Held by its daemon as long as that lives.
    pub fn daemon_lock(&self) -> PathBuf {
        self.internal().join("daemon.lock")
    }

    /// Where its daemon says what it does.
    pub fn daemon_log(&self) -> PathBuf {
        self.internal().join("daemon.log")
    }

    /// The folder of its protocols, which need not be there.
    pub fn protocols(&self) -> PathBuf {
        self.path.join(PROTOCOLS)
    }

    /// The protocol that `name` names: a file, else one of the folder `protocols` of this home, with or without its ending.
    pub fn protocol(&self, name: &Path) -> PathBuf {
        let is_here = name.components().count() != 1 || name.is_file();
        let mut file = name.as_os_str().to_owned();
        file.push(".toml");
        let own = [name, Path::new(&file)].map(|name| self.protocols().join(name));
        own.into_iter().find(|path| !is_here && path.is_file()).unwrap_or_else(|| name.to_owned())
    }

    /// The concept of that name.
    pub fn concept(&self, name: &str) -> Result<Concept, Error> {
        Concept::open(&self.concept_folder(name)?)
    }

    /// The folder of the concept of that name, whose `concept.toml` may be broken.
    ///
    /// # Errors
    /// There is no such folder, or no `concept.toml` in it.
    pub fn concept_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let folder = self.path.join(name);
        if !plain || !is_there(&folder)? || !folder.is_dir() {
            return Err(Error::NoConcept { name: name.into(), home: self.path.clone(), hint: self.hint(name) });
        }
        if folder.join("concept.toml").symlink_metadata().is_err() {
            // It says what is missing.
            Concept::open(&folder)?;
        }
        Ok(folder)
    }

    /// The names of all concepts, sorted: every folder with a `concept.toml`, though that may be none that can be read.
    pub fn concepts(&self) -> Result<Vec<String>, Error> {
        if !is_there(&self.path)? {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let entry = entry.map_err(Error::io("read", &self.path))?;
            if entry.path().join("concept.toml").symlink_metadata().is_ok()
                && let Some(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn hint(&self, name: &str) -> String {
        match self.concepts() {
            _ if name == "demo" => "`catbench demo` brings it here".into(),
            Ok(names) if !names.is_empty() => format!("there is {}", names.join(", ")),
            _ => "there is none yet; a concept is a folder with concept.toml and images/".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_home_is_the_same_by_every_way_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("my home");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        for way in ["my home", "my home/", "link", "link/", "./link/../my home/."] {
            assert_eq!(Home::at(&folder.path().join(way)).unwrap().path(), real, "{way}");
        }
        assert_eq!(Home::at(&folder.path().join("link/new/")).unwrap().path(), real.join("new"), "not there yet");
    }
}
