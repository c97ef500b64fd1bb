//! What lies where its kind lies. Files of a concept name others by their paths from its folder, and links may stand in for
//! them: neither leads out of the folder, whoever wrote them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Error;
use crate::fs::{Show, open_folder};

/// The most folders in one another.
pub(super) const MAX_DEPTH: usize = 32;
/// The most files and folders of a concept's folder that are gone through. Links into one another can make more of few.
const MAX_FILES: usize = 1_000_000;

/// What becomes of links that lead out of a folder which is copied or packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are refused by name.
    Inside,
    /// What they lead to is taken.
    Follow,
}

/// `path` in `folder`; none where it leads out by what it says: one from the root, or with `..`.
pub fn inside(folder: &Path, path: &Path) -> Option<PathBuf> {
    let is_plain = |part| matches!(part, Component::Normal(_));
    (path.components().next().is_some() && path.components().all(is_plain)).then(|| folder.join(path))
}

/// Whether there is a file at `path` in the job folder `folder`, and no link on the way there leads out of the folder's concept.
pub(super) fn is_file_inside(folder: &Path, path: &Path) -> bool {
    let Some(full) = inside(folder, path) else { return false };
    let (mut at, mut is_linked, mut is_file) = (folder.to_owned(), false, false);
    for part in path {
        at.push(part);
        let Ok(found) = at.symlink_metadata() else { return false };
        is_linked |= found.is_symlink();
        is_file = found.is_file();
    }
    if is_linked { full.is_file() && leads_inside(folder, &full) } else { is_file }
}

/// Whether what is at `path` lies, its links followed, in the job folder `folder` or in the folder of the job's concept.
pub(super) fn leads_inside(folder: &Path, path: &Path) -> bool {
    let Ok(target) = path.canonicalize() else { return false };
    let job = super::JobFolder::at(folder).ok();
    let concept = job.as_ref().and_then(|job| job.concept_folder().ok());
    let lies_in = |root: &Path| root.canonicalize().is_ok_and(|root| target.starts_with(root));
    lies_in(folder) || concept.is_some_and(lies_in)
}

/// The files of a folder that is copied or packed: all below it but what is hidden and what belongs to a process.
pub(super) struct FolderFiles {
    /// Without links.
    root: PathBuf,
    folder: File,
    links: Links,
    /// Their paths from there, and their sizes.
    pub files: Vec<(PathBuf, u64)>,
}

impl FolderFiles {
    /// Go through `folder`.
    ///
    /// # Errors
    /// The system's. By name: a link that leads out of it unless they are followed, or back to a folder that it is in; what is no
    /// file; too many files.
    pub fn read(folder: &Path, links: Links) -> Result<Self, Error> {
        let root = folder.canonicalize().map_err(Error::io("read", folder))?;
        let opened = open_folder(&root).map_err(Error::io("read", folder))?;
        let mut found = Self { root, folder: opened, links, files: Vec::new() };
        let mut walk = Walk { seen: 0, above: Vec::new() };
        found.read_below(Path::new(""), &mut walk)?;
        found.files.sort();
        Ok(found)
    }

    fn read_below(&mut self, from: &Path, walk: &mut Walk) -> Result<(), Error> {
        let folder = self.root.join(from);
        let own = std::fs::metadata(&folder).map_err(Error::io("read", &folder))?;
        let own = (own.dev(), own.ino());
        if walk.above.contains(&own) {
            return Err(Error::invalid(&folder, "this link leads back to a folder that it is in", "remove it"));
        }
        if walk.above.len() > MAX_DEPTH {
            let problem = format!("more than {MAX_DEPTH} folders are in one another here");
            return Err(Error::invalid(&folder, problem, "no concept has such: move them away"));
        }
        walk.above.push(own);
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            walk.seen += 1;
            if walk.seen > MAX_FILES {
                let problem = format!("there are more than {MAX_FILES} files in it");
                return Err(Error::invalid(&self.root, problem, "no concept has so many: move some away"));
            }
            let entry = entry.map_err(Error::io("read", &folder))?;
            self.take(&from.join(entry.file_name()), walk)?;
        }
        walk.above.pop();
        Ok(())
    }

    /// Take in what is at `name`, a path from the folder.
    fn take(&mut self, name: &Path, walk: &mut Walk) -> Result<(), Error> {
        let path = self.root.join(name);
        let own = name.file_name().unwrap_or_default().to_string_lossy();
        let found = std::fs::metadata(&path);
        if !found.as_ref().is_ok_and(std::fs::Metadata::is_dir) && (own.starts_with('.') || own == "runner.lock") {
            return Ok(());
        }
        if path.symlink_metadata().map_err(Error::io("read", &path))?.is_symlink() {
            self.check_link(&path)?;
        }
        let found = found.map_err(Error::io("read", &path))?;
        if found.is_dir() {
            return self.read_below(name, walk);
        }
        crate::fs::check_kind(&found).map_err(|error| Error::invalid(&path, error.to_string(), "remove it"))?;
        self.files.push((name.to_owned(), found.len()));
        Ok(())
    }

    /// Refuse a link that leads nowhere or, unless they are followed, out of the folder.
    fn check_link(&self, path: &Path) -> Result<(), Error> {
        let said = std::fs::read_link(path).unwrap_or_default();
        let target = path.canonicalize().map_err(|error| {
            let problem = format!("this is a link to {}, which leads nowhere ({error})", said.shown());
            Error::invalid(path, problem, "remove it")
        })?;
        if self.links == Links::Follow || target.starts_with(&self.root) {
            return Ok(());
        }
        let problem = format!("this is a link that leads out of the folder, to {}", target.shown());
        let remedy = "put what it leads to in its place, or say --follow-links on the command line to take that";
        Err(Error::invalid(path, problem, remedy))
    }

    /// Open the file at `name`, a path from the folder. Where links may not lead out, what is opened lies in the folder,
    /// whatever has become of the links meanwhile.
    pub fn open(&self, name: &Path) -> io::Result<File> {
        let path = self.root.join(name);
        if self.links == Links::Follow {
            return crate::fs::open(&path);
        }
        let target = path.canonicalize()?;
        let within = target.strip_prefix(&self.root).map_err(|_| io::Error::other("it has become a link"))?;
        crate::fs::open_within(&self.folder, within)
    }
}

/// How far a folder has been gone through.
struct Walk {
    /// Files and folders so far.
    seen: usize,
    /// The folders above, by device and number.
    above: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_out_by_its_root_or_its_parents() {
        let folder = Path::new("/home/mug");
        assert_eq!(inside(folder, Path::new("samples/a.png")), Some("/home/mug/samples/a.png".into()));
        for out in ["/etc/passwd", "../x", "a/../../x", "samples/..", "", ".", "./a.png"] {
            assert_eq!(inside(folder, Path::new(out)), None, "{out}");
        }
    }

    #[test]
    fn a_file_behind_a_link_is_one_only_where_that_stays_in_the_concept() {
        let home = tempfile::tempdir().unwrap();
        let concept = home.path().join("mug");
        let job = concept.join("samples/one");
        std::fs::create_dir_all(&job).unwrap();
        for path in [job.join("batch.toml"), job.join("a.png"), concept.join("b.png"), home.path().join("c.png")] {
            std::fs::write(path, "").unwrap();
        }
        symlink("../../b.png", job.join("within.png")).unwrap();
        symlink("../../../c.png", job.join("out.png")).unwrap();
        symlink(home.path(), job.join("away")).unwrap();
        symlink("loop.png", job.join("loop.png")).unwrap();
        let is = |name: &str| is_file_inside(&job, Path::new(name));
        assert!(is("a.png") && is("within.png"));
        for name in ["out.png", "away/c.png", "loop.png", "none.png", "../../b.png", "a.png/x"] {
            assert!(!is(name), "{name}");
        }
    }

    #[test]
    fn what_is_opened_lies_in_the_folder_whatever_has_become_of_a_link() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("images/a.png"), "own").unwrap();
        std::fs::write(other.path().join("a.png"), "private").unwrap();
        let files = FolderFiles::read(folder.path(), Links::Inside).unwrap();
        assert_eq!(files.files, [(PathBuf::from("images/a.png"), 3)]);
        assert!(files.open(Path::new("images/a.png")).is_ok());
        std::fs::rename(folder.path().join("images"), folder.path().join("before")).unwrap();
        symlink(other.path(), folder.path().join("images")).unwrap();
        assert!(files.open(Path::new("images/a.png")).is_err());
    }
}
