//! The demo: where it comes from, and how it gets into a home.

use std::path::{Path, PathBuf};

use super::{Concept, Error, Home, bundle};

/// The name of its concept.
const NAME: &str = "demo";
/// Names the folder of the demo, for a program far from its source.
const VARIABLE: &str = "CATBENCH_DEMO";
/// What of its folder makes the concept; the rest is how it was made.
const PARTS: [&str; 6] = ["base_model", "clip", "images", "masks", "prompts", "segmenter"];

impl Home {
    /// The demo concept: where it is not in this home yet, a copy of it (24 MB) is made.
    ///
    /// # Errors
    /// It is nowhere to be found; the message says where to get it.
    pub fn demo(&self) -> Result<Concept, Error> {
        if self.path().join(NAME).exists() {
            return self.concept(NAME);
        }
        let from = source()?;
        self.make_concept(NAME, |folder| {
            for part in PARTS {
                bundle::copy_files(&from.join(part), &folder.join(part))?;
            }
            super::library::copy(&from.join("concept.toml"), folder)
        })
    }
}

/// The folder of the demo: `$CATBENCH_DEMO`, else beside this program (in `workspaces/demo` of a folder above it, or in
/// `share/catbench/demo` of an installation), else in the source it was built from.
fn source() -> Result<PathBuf, Error> {
    if let Some(set) = std::env::var_os(VARIABLE).filter(|set| !set.is_empty()).map(PathBuf::from) {
        let remedy = format!("{VARIABLE} must name the folder workspaces/demo of the source");
        return Some(set.clone())
            .filter(|set| is_demo(set))
            .ok_or_else(|| Error::invalid(&set, "this is not the demo", remedy));
    }
    let program = std::env::current_exe().and_then(|program| program.canonicalize()).unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    found(&program, built).ok_or_else(|| {
        let remedy = format!(
            "get the source (`git clone {}`) and run catbench with {VARIABLE}=<source>/workspaces/demo",
            env!("CARGO_PKG_REPOSITORY")
        );
        Error::invalid(&program, "the demo, which comes with the source, is not where this program is", remedy)
    })
}

/// The demo of the program at this path, which was built from the source in `built`.
fn found(program: &Path, built: &Path) -> Option<PathBuf> {
    let above = program.ancestors().skip(1);
    let beside = above.flat_map(|folder| [folder.join("workspaces/demo"), folder.join("share/catbench/demo")]);
    beside.chain([built.join("workspaces/demo")]).find(|folder| is_demo(folder))
}

/// Whether all of the demo is in this folder.
fn is_demo(folder: &Path) -> bool {
    folder.join("concept.toml").is_file() && PARTS.iter().all(|part| folder.join(part).is_dir())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_demo_is_found_beside_the_program_installed_or_in_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let make = |place: &str| {
            let demo = folder.path().join(place);
            PARTS.iter().for_each(|part| std::fs::create_dir_all(demo.join(part)).unwrap());
            std::fs::write(demo.join("concept.toml"), "").unwrap();
            demo
        };
        let nowhere = folder.path().join("nowhere");
        let program = folder.path().join("opt/bin/catbench");
        assert_eq!(found(&program, &nowhere), None);
        let source = make("source/workspaces/demo");
        assert_eq!(found(&program, &folder.path().join("source")), Some(source.clone()));
        let installed = make("opt/share/catbench/demo");
        assert_eq!(found(&program, &folder.path().join("source")), Some(installed));
        assert_eq!(found(&folder.path().join("source/target/release/catbench"), &nowhere), Some(source));
    }

    #[test]
    fn the_demo_comes_into_an_empty_home_without_how_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("new")).unwrap();
        let demo = home.demo().unwrap();
        assert_eq!((demo.id.as_str(), demo.photos().unwrap().len()), ("demo", 5));
        assert!(demo.base_model().unwrap().path.join("model_index.json").is_file());
        assert!(!demo.folder.join("make").exists() && !demo.folder.join("docs").exists());
        assert_eq!(home.demo().unwrap(), demo, "once is enough");
    }
}
