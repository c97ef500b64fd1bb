//! Registered base models: `<home>/.catbench/models/<name>.toml`, each naming files that stay where they are.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::concept::{read_toml, write_toml};
use super::error::is_there;
use super::{Error, Home, free_disk};
use crate::fs::NewFile;
use crate::protocol::ModelSpec;

/// What names can be.
const NAMES: &str = "a model's name has letters, digits, -, _ and ., and does not begin with .";

/// Files to copy, and what is told bytes done and in all.
pub struct Copying<'a> {
    /// All files that are read of the model, absolute.
    pub files: &'a [PathBuf],
    /// Told bytes done and in all.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl Home {
    fn models_folder(&self) -> PathBuf {
        self.internal().join("models")
    }

    /// The file of the registered model `name`, whether or not it is there.
    fn model_entry(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !name.starts_with('.');
        if !plain || name.is_empty() {
            return Err(Error::NoModel { name: name.into(), hint: NAMES.into() });
        }
        Ok(self.models_folder().join(format!("{name}.toml")))
    }

    /// The registered model of that name.
    pub fn model(&self, name: &str) -> Result<ModelSpec, Error> {
        let names = || self.model_names().unwrap_or_default();
        let hint = |names: Vec<String>| match names.as_slice() {
            _ if name.contains('/') => "there is no such file or folder".to_owned(),
            [] => "none is registered; `catbench model add NAME PATH` registers one".to_owned(),
            names => format!("there is {}; `catbench model add NAME PATH` registers another", names.join(", ")),
        };
        match self.model_entry(name) {
            Ok(path) if path.is_file() => read_toml(&path),
            _ => Err(Error::NoModel { name: name.into(), hint: hint(names()) }),
        }
    }

    /// The names of all registered models, sorted.
    pub fn model_names(&self) -> Result<Vec<String>, Error> {
        let folder = self.models_folder();
        if !is_there(&folder)? {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            if path.extension().is_some_and(|extension| extension == "toml")
                && let Some(name) =
                    path.file_stem().and_then(|stem| stem.to_str()).filter(|name| !name.starts_with('.'))
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The registered model that `path` names: one plain word, which means that before it means a file of that name.
    pub fn named_model(&self, path: &Path) -> Result<Option<ModelSpec>, Error> {
        match path.to_str().filter(|name| !name.contains('/')).map(|name| self.model_entry(name)) {
            Some(Ok(entry)) if is_there(&entry)? && entry.is_file() => read_toml(&entry).map(Some),
            _ => Ok(None),
        }
    }

    /// Refuse a name that is taken or cannot be one.
    pub fn check_new_model(&self, name: &str) -> Result<(), Error> {
        let Ok(path) = self.model_entry(name) else {
            let problem = format!("{name:?} is not a model's name");
            return Err(Error::invalid(&self.models_folder(), problem, NAMES));
        };
        if path.exists() {
            let remedy = format!("`catbench model remove {name}` first, or choose another name");
            return Err(Error::invalid(&path, format!("there is a model {name:?} already"), remedy));
        }
        Ok(())
    }

    /// Register `spec` as `name`, its files copied into the home first where `copy` says which. What is registered.
    pub fn add_model(&self, name: &str, spec: &ModelSpec, copy: Option<Copying<'_>>) -> Result<ModelSpec, Error> {
        self.check_new_model(name)?;
        let folder = self.models_folder();
        crate::fs::create_folders(&folder).map_err(Error::io("create", &folder))?;
        let spec = match copy {
            Some(copy) => self.copy_model(name, spec, copy)?,
            None => spec.clone(),
        };
        write_toml(&self.model_entry(name)?, &spec)?;
        Ok(spec)
    }

    /// Where copies of a model's files are.
    fn copies(&self, name: &str) -> PathBuf {
        self.models_folder().join(name)
    }

    fn copy_model(&self, name: &str, spec: &ModelSpec, copy: Copying<'_>) -> Result<ModelSpec, Error> {
        let (target, partial) = (self.copies(name), self.models_folder().join(format!(".{name}.part")));
        let Copying { files, progress } = copy;
        let mut copied = || {
            for stale in [&target, &partial] {
                remove_tree(stale)?;
            }
            // Where each file goes: below `model`, `vae` or `config`, as it is below the path that names it.
            let mut wanted: Vec<(&Path, PathBuf)> = Vec::new();
            let mut place = |what: &str, root: &Path| {
                let place = Path::new(what).join(root.file_name().unwrap_or_default());
                let beside = if root.is_dir() { root } else { root.parent().unwrap_or(root) };
                let within = place.parent().map_or(PathBuf::new(), Path::to_owned);
                for file in files {
                    let to = match (root.is_dir(), file.strip_prefix(root), file.strip_prefix(beside)) {
                        (true, Ok(rest), _) => place.join(rest),
                        // The file itself, and its config beside it.
                        (false, _, Ok(rest)) if file == root || rest == Path::new("config.json") => within.join(rest),
                        _ => continue,
                    };
                    wanted.push((file, to));
                }
                target.join(place)
            };
            let spec = ModelSpec {
                path: place("model", &spec.path),
                vae: spec.vae.as_deref().map(|path| place("vae", path)),
                config: spec.config.as_deref().map(|path| place("config", path)),
                prediction: spec.prediction,
            };
            let mut total = 0;
            for (file, _) in &wanted {
                total += std::fs::metadata(file).map_err(Error::io("read", file))?.len();
            }
            if let Some(free) = free_disk(&self.models_folder()).filter(|free| *free < total) {
                let mib = |bytes: u64| bytes >> 20;
                let problem = format!("the copies take {} MiB, and {} MiB is free", mib(total), mib(free));
                let remedy = "make room, or add it without --copy";
                return Err(Error::invalid(&self.models_folder(), problem, remedy));
            }
            for folder in [Some(&spec.path), spec.vae.as_ref(), spec.config.as_ref()].into_iter().flatten() {
                // A model that is not read is there all the same.
                let folder = partial.join(folder.strip_prefix(&target).unwrap_or(folder));
                let folder = folder.parent().unwrap_or(&folder);
                crate::fs::create_folders(folder).map_err(Error::io("create", folder))?;
            }
            let mut done = 0;
            for (file, to) in &wanted {
                copy_file(file, &partial.join(to), &mut |bytes| {
                    done += bytes;
                    progress(done, total);
                })?;
            }
            std::fs::rename(&partial, &target).map_err(Error::io("write", &target))?;
            Ok(spec)
        };
        copied().inspect_err(|_| drop(remove_tree(&partial)))
    }

    /// Forget the model `name`, and delete the copies of its files if it has any; files it only refers to stay.
    pub fn remove_model(&self, name: &str) -> Result<ModelSpec, Error> {
        let spec = self.model(name)?;
        let path = self.model_entry(name)?;
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        remove_tree(&self.copies(name))?;
        Ok(spec)
    }
}

fn remove_tree(folder: &Path) -> Result<(), Error> {
    if folder.is_dir() { std::fs::remove_dir_all(folder).map_err(Error::io("remove", folder)) } else { Ok(()) }
}

/// Copy a file; `copied` is told the bytes of each piece.
fn copy_file(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> Result<(), Error> {
    /// Bytes between two looks at how far it is.
    const PIECE: u64 = 64 << 20;
    let folder = to.parent().unwrap_or(to);
    crate::fs::create_folders(folder).map_err(Error::io("create", folder))?;
    let source = crate::fs::open(from).map_err(Error::io("read", from))?;
    let mut target = NewFile::at(to).map_err(Error::io("write", to))?;
    loop {
        match std::io::copy(&mut (&source).take(PIECE), &mut target).map_err(Error::io("copy", from))? {
            0 => return target.put().map_err(Error::io("write", to)),
            bytes => copied(bytes),
        }
    }
}
