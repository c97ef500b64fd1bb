//! A new concept: a folder of photos, then what it is.

use std::path::Path;

use super::entry::{Entry, Field};
use super::picker::{Photos, Picker};
use crate::protocol::TrainStart;
use crate::tui::deeds::{self, Effect};
use crate::workspace::{ConceptFile, Home};

/// Have a folder of photos found, then a name, a class word and a model.
pub fn open(home: &Home) -> Effect {
    let home = home.clone();
    let here = std::env::current_dir().unwrap_or_default();
    Picker::open("New concept: the folder of its photos", &here, move |images, photos| describe(&home, &images, photos))
}

fn describe(home: &Home, images: &Path, photos: Photos) -> Effect {
    let folder = images.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A folder called images is the one in the concept's own.
    let above = images.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = if ["images", "photos"].contains(&folder.as_str()) { above.unwrap_or(folder) } else { folder };
    let models = home.model_names().unwrap_or_default();
    let beside = images.parent().map(|parent| parent.join("masks")).filter(|masks| masks.is_dir());
    let known = if models.is_empty() { "none is registered".into() } else { models.join(", ") };
    let fields = vec![
        Field::new("name", "its folder in the home gets this name", &name),
        Field::new("class word", "what it is a kind of, in one word: teapot, dog, backpack", ""),
        Field::new("base model", &format!("a path, or a registered one: {known}"), models.first().map_or("", |m| m)),
        Field::new("score model", "the folder of a CLIP model; may stay empty", ""),
        Field::new(
            "masks",
            "a folder of masks named like the photos; may stay empty",
            &beside.map(|masks| masks.to_string_lossy().into_owned()).unwrap_or_default(),
        ),
    ];
    let (home, images) = (home.clone(), images.to_owned());
    let entry = Entry::new("New concept", fields, move |texts| {
        let [name, class_word, base_model, score_model, masks] = texts.try_into().unwrap_or_default();
        let given = |text: &str| Some(text).filter(|text| !text.is_empty()).map(deeds::path);
        let base_model = if deeds::path(&base_model).exists() { deeds::path(&base_model) } else { base_model.into() };
        let file = ConceptFile {
            name: name.clone(),
            class_word,
            base_model,
            score_model: given(&score_model),
            dino_model: None,
            sam_model: None,
            segmenter: None,
            guidance_scale: None,
            tags: Vec::new(),
            notes: String::new(),
            train: TrainStart::default(),
        };
        deeds::new_concept(&home, name, file, images.clone(), given(&masks))
    });
    Effect::over(entry.checked(move |texts, world| {
        if texts[0].is_empty() || texts[0].contains(['/', '\\', '~']) || texts[0].starts_with(['.', '-']) {
            return Err("a name is a folder's name: without / \\ ~, not beginning with . or -".into());
        }
        if world.home.path().join(&texts[0]).exists() {
            return Err(format!("there is a concept {} already", texts[0]));
        }
        if texts[1].is_empty() {
            return Err("name what it is a kind of".into());
        }
        if !deeds::path(&texts[2]).exists() && world.home.model(&texts[2]).is_err() {
            return Err("this base model is not there: `:model add` registers one".into());
        }
        for (i, what) in [(3, "score model"), (4, "folder of masks")] {
            if !texts[i].is_empty() && !deeds::path(&texts[i]).is_dir() {
                return Err(format!("this {what} is not there"));
            }
        }
        if !photos.unreadable.is_empty() {
            return Err(format!("{}: mend it or take it out of the folder first", photos.words()));
        }
        Ok(format!("✓ {} will be copied; Enter in the last line makes it", photos.words()))
    }))
}
