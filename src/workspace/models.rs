//! Registered base models: `<home>/.catbench/models/<name>.toml`, each naming files that stay where they are.

use std::path::{Path, PathBuf};

use super::concept::{read_toml, write_toml};
use super::{Error, Home};
use crate::protocol::ModelSpec;

impl Home {
    fn models_folder(&self) -> PathBuf {
        self.internal().join("models")
    }

    /// The file of the registered model `name`, whether or not it is there.
    fn model_entry(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !name.starts_with('.');
        if !plain || name.is_empty() {
            let hint = "a model's name has letters, digits, -, _ and ., and does not begin with .".into();
            return Err(Error::NoModel { name: name.into(), hint });
        }
        Ok(self.models_folder().join(format!("{name}.toml")))
    }

    /// The registered model of that name.
    pub fn model(&self, name: &str) -> Result<ModelSpec, Error> {
        let names = || self.model_names().unwrap_or_default();
        let hint = |names: Vec<String>| match names.as_slice() {
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
        if !folder.is_dir() {
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

    /// Refuse a name that is taken or cannot be one.
    pub fn check_new_model(&self, name: &str) -> Result<(), Error> {
        let path = self.model_entry(name)?;
        if path.exists() {
            let remedy = format!("`catbench model remove {name}` first, or choose another name");
            return Err(Error::invalid(&path, format!("there is a model {name:?} already"), remedy));
        }
        Ok(())
    }

    /// Register `spec` as `name`, its files copied into the home first where `copy` is set. What is registered.
    pub fn add_model(&self, name: &str, spec: &ModelSpec, copy: bool) -> Result<ModelSpec, Error> {
        self.check_new_model(name)?;
        let folder = self.models_folder();
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let spec = if copy { self.copy_model(name, spec)? } else { spec.clone() };
        write_toml(&self.model_entry(name)?, &spec)?;
        Ok(spec)
    }

    /// Where copies of a model's files are.
    fn copies(&self, name: &str) -> PathBuf {
        self.models_folder().join(name)
    }

    fn copy_model(&self, name: &str, spec: &ModelSpec) -> Result<ModelSpec, Error> {
        let (target, partial) = (self.copies(name), self.models_folder().join(format!(".{name}.part")));
        let copied = || {
            for stale in [&target, &partial] {
                remove_tree(stale)?;
            }
            let copy = |what: &str, path: &Path| {
                let place = Path::new(what).join(path.file_name().unwrap_or_default());
                copy_tree(path, &partial.join(&place))?;
                Ok::<_, Error>(target.join(place))
            };
            let spec = ModelSpec {
                path: copy("model", &spec.path)?,
                vae: spec.vae.as_deref().map(|path| copy("vae", path)).transpose()?,
                config: spec.config.as_deref().map(|path| copy("config", path)).transpose()?,
                prediction: spec.prediction,
            };
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

/// Copy a file, or a folder with all in it.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.is_dir() {
        let folder = to.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        std::fs::copy(from, to).map_err(Error::io("copy", from))?;
        return std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(Error::io("write", to));
    }
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
