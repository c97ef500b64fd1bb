//! The samples of the open concept: as many as there are, so that neither a frame nor a key looks at all of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use crate::protocol::SampleRecord;
use crate::workspace::{Ratings, look_at_mask, sample_mask};

/// The samples as the store had them, and what is looked up in them. It is made off the drawing thread.
#[derive(Debug, Default)]
pub struct SampleList {
    records: Vec<SampleRecord>,
    /// What a filter looks for, in lower case.
    words: Vec<String>,
    /// The place of each path.
    places: HashMap<OsString, usize>,
    /// The ratings that the records have.
    ratings: Ratings,
}

/// What a filter looks for in a sample.
pub fn words(sample: &SampleRecord) -> String {
    format!("{} #{}", sample.prompt, sample.seed).to_lowercase()
}

impl SampleList {
    /// Of these.
    pub fn new(records: Vec<SampleRecord>) -> Self {
        let place = |(i, sample): (usize, &SampleRecord)| (sample.path.clone().into_os_string(), i);
        let rating = |sample: &SampleRecord| Some((sample.path.to_str()?.to_owned(), sample.rating?));
        Self {
            words: records.iter().map(words).collect(),
            places: records.iter().enumerate().map(place).collect(),
            ratings: records.iter().filter_map(rating).collect(),
            records,
        }
    }

    /// All of them, in the order they were made.
    pub fn records(&self) -> &[SampleRecord] {
        &self.records
    }

    /// What a filter looks for in the one at `index`.
    pub fn words(&self, index: usize) -> &str {
        &self.words[index]
    }

    /// Whether the picture at `path`, from the concept's folder, is one of them.
    pub fn knows(&self, path: &Path) -> bool {
        self.places.contains_key(path.as_os_str())
    }

    /// Rate the picture at `path`. Whether that changes anything.
    pub fn rate(&mut self, path: &Path, rating: Option<u8>) -> bool {
        let Some(&place) = self.places.get(path.as_os_str()) else { return false };
        let before = std::mem::replace(&mut self.records[place].rating, rating);
        if let Some(path) = path.to_str() {
            match rating {
                Some(rating) => drop(self.ratings.insert(path.to_owned(), rating)),
                None => drop(self.ratings.remove(path)),
            }
        }
        before != rating
    }

    /// Look at the mask of the picture at `path` from the concept's `folder`. Whether it is another than was known.
    pub fn look_at_mask(&mut self, folder: &Path, path: &Path) -> bool {
        let Some(&place) = self.places.get(path.as_os_str()) else { return false };
        let known = self.records[place].mask;
        self.records[place].mask = look_at_mask(&sample_mask(&folder.join(path)), known);
        self.records[place].mask != known
    }

    /// Have the ratings `ratings` and no others. Whether one has changed.
    pub fn rate_all(&mut self, ratings: &Ratings) -> bool {
        let gone = self.ratings.keys().filter(|path| !ratings.contains_key(*path)).map(|path| (path.clone(), None));
        let new = ratings.iter().filter(|(path, rating)| self.ratings.get(*path) != Some(rating));
        let all: Vec<(String, Option<u8>)> =
            gone.chain(new.map(|(path, rating)| (path.clone(), Some(*rating)))).collect();
        all.iter().fold(false, |changed, (path, rating)| self.rate(Path::new(path), *rating) || changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_change_samples_in_place() {
        let sample = |i: u64| SampleRecord {
            path: format!("samples/a/{i}.png").into(),
            prompt: "A Mug".into(),
            seed: i,
            step: 0,
            learned: true,
            rating: None,
            mask: None,
        };
        let mut list = SampleList::new((0..3).map(sample).collect());
        assert!(list.knows(Path::new("samples/a/2.png")) && !list.knows(Path::new("samples/a/3.png")));
        assert_eq!(list.words(1), "a mug #1");
        assert!(list.rate(Path::new("samples/a/1.png"), Some(4)) && !list.rate(Path::new("x.png"), Some(4)));
        assert_eq!(list.records()[1].rating, Some(4));
        assert!(!list.rate_all(&Ratings::from([("samples/a/1.png".into(), 4)])));
        assert!(list.rate_all(&Ratings::from([("samples/a/0.png".into(), 2)])));
        assert_eq!(list.records().iter().map(|sample| sample.rating).collect::<Vec<_>>(), [Some(2), None, None]);
    }
}
