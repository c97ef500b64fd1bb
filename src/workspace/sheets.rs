//! Which picture of a sampling stands where on its contact sheets.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::Error;
use crate::image::{Labels, can_be_written};
use crate::protocol::{Axis, PictureConfig};

/// The most columns of a sheet.
const MAX_COLUMNS: usize = 64;
/// The most rows.
const MAX_ROWS: usize = 256;
/// The most sheets of a sampling.
const MAX_SHEETS: usize = 200;

/// One sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetPlan {
    /// What is written on it.
    pub labels: Labels,
    /// (column, row, number of the picture), from 0.
    pub cells: Vec<(usize, usize, usize)>,
    /// What stands on it for texts that its font cannot write, and those texts.
    pub legend: Vec<(String, String)>,
}

/// Put `pictures` on sheets whose columns are the values of the first of `axes` and whose rows are the values of the second. Where
/// they differ in something else too, each combination has a sheet of its own, which says it above.
///
/// # Errors
/// Other than one or two different axes, two pictures for one place, and more or larger sheets than can be looked at.
pub fn plan_sheets(pictures: &[PictureConfig], axes: &[Axis]) -> Result<Vec<SheetPlan>, Error> {
    let refuse = |problem: String, remedy: &str| Err(Error::invalid(Path::new("--grid"), problem, remedy));
    let (columns, rows) = match *axes {
        [] => return Ok(Vec::new()),
        [columns] => (columns, None),
        [columns, rows] if columns != rows => (columns, Some(rows)),
        [twice, _] => {
            return refuse(format!("{0} as columns and {0} as rows", twice.word()), "name two different settings");
        }
        _ => {
            let problem = format!("{} settings, where a sheet has columns and rows", axes.len());
            return refuse(problem, "name two: what else differs has a sheet for each value");
        }
    };
    let words = Words::of(pictures);
    let differs = |axis: Axis| {
        let mut labels = pictures.iter().map(|picture| axis.label(picture));
        let first = labels.next();
        labels.any(|label| Some(&label) != first.as_ref())
    };
    let all = Axis::ALL.into_iter();
    let others: Vec<Axis> = all.filter(|axis| *axis != columns && Some(*axis) != rows && differs(*axis)).collect();
    let mut sheets: Vec<(SheetPlan, Vec<usize>)> = Vec::new();
    let mut known = HashMap::new();
    for (i, picture) in pictures.iter().enumerate() {
        // What tells sheets apart are the settings, not what is written of them.
        let key: Vec<String> = others.iter().map(|axis| axis.label(picture)).collect();
        let at = *known.entry(key).or_insert_with(|| {
            let title = others.iter().map(|axis| words.label(*axis, picture)).collect::<Vec<_>>().join(", ");
            let labels = Labels { title, ..Labels::default() };
            sheets.push((SheetPlan { labels, cells: Vec::new(), legend: words.legend(&others, picture) }, Vec::new()));
            sheets.len() - 1
        });
        sheets[at].1.push(i);
    }
    if sheets.len() > MAX_SHEETS {
        let differ = others.iter().map(|axis| axis.word()).collect::<Vec<_>>().join(", ");
        let problem = format!("{} sheets, over {MAX_SHEETS}: one for each value of {differ}", sheets.len());
        return refuse(problem, "name the settings with the most values as columns and rows, or sample fewer");
    }
    for (sheet, members) in &mut sheets {
        let members = || members.iter().map(|&i| (i, &pictures[i]));
        let of = |axis: Axis| distinct(members().map(|(_, picture)| (axis.label(picture), picture)));
        let (across, down) = (of(columns), rows.map(of).unwrap_or_default());
        for (axis, found, most) in
            [(columns, across.len(), MAX_COLUMNS), (rows.unwrap_or(columns), down.len(), MAX_ROWS)]
        {
            if found > most {
                let problem = format!("a sheet with {found} values of {}, over {most}", axis.word());
                let remedy =
                    format!("a sheet has up to {MAX_COLUMNS} columns and {MAX_ROWS} rows: take fewer, or swap the two");
                return refuse(problem, &remedy);
            }
        }
        let places = |values: &[(String, &PictureConfig)]| -> HashMap<String, usize> {
            values.iter().enumerate().map(|(at, (label, _))| (label.clone(), at)).collect()
        };
        let (column_of, row_of) = (places(&across), places(&down));
        let mut taken = HashMap::new();
        for (i, picture) in members() {
            let column = column_of.get(&columns.label(picture)).copied().unwrap_or(0);
            let row = rows.and_then(|axis| row_of.get(&axis.label(picture)).copied()).unwrap_or(0);
            if let Some(other) = taken.insert((column, row), i) {
                let problem = format!("pictures {} and {} would stand in one place", other + 1, i + 1);
                return refuse(problem, "sample each picture once");
            }
            sheet.cells.push((column, row, i));
        }
        for (axis, values) in std::iter::once((columns, &across)).chain(rows.map(|axis| (axis, &down))) {
            sheet.legend.extend(values.iter().flat_map(|(_, picture)| words.legend(&[axis], picture)));
        }
        let written = |axis: Axis, values: &[(String, &PictureConfig)]| {
            values.iter().map(|(_, picture)| words.label(axis, picture)).collect()
        };
        sheet.labels.columns = written(columns, &across);
        sheet.labels.rows = rows.map(|axis| written(axis, &down)).unwrap_or_default();
    }
    Ok(sheets.into_iter().map(|(sheet, _)| sheet).collect())
}

/// Each label once, in their order, with the first picture that has it.
fn distinct<'a>(labels: impl Iterator<Item = (String, &'a PictureConfig)>) -> Vec<(String, &'a PictureConfig)> {
    let mut seen = HashSet::new();
    labels.filter(|(label, _)| seen.insert(label.clone())).collect()
}

/// What is written in place of texts that the font of sheets has no letters for: their kind and number.
struct Words {
    /// Numbers of such texts, by axis.
    numbers: HashMap<(&'static str, String), usize>,
}

impl Words {
    fn of(pictures: &[PictureConfig]) -> Self {
        let mut numbers = HashMap::new();
        for axis in [Axis::Prompt, Axis::Negative] {
            let labels = distinct(pictures.iter().map(|picture| (axis.label(picture), picture)));
            for (i, (label, _)) in labels.into_iter().enumerate() {
                if !can_be_written(&label) {
                    numbers.insert((axis.word(), label), i + 1);
                }
            }
        }
        Self { numbers }
    }

    fn label(&self, axis: Axis, picture: &PictureConfig) -> String {
        let key = (axis.word(), axis.label(picture));
        match self.numbers.get(&key) {
            Some(number) => format!("{} {number}", key.0),
            None => key.1,
        }
    }

    /// What of the labels of `axes` is not what they stand for, and that.
    fn legend(&self, axes: &[Axis], picture: &PictureConfig) -> Vec<(String, String)> {
        let pairs = axes.iter().map(|axis| (self.label(*axis, picture), axis.label(picture)));
        pairs.filter(|(written, label)| written != label).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::{SampleConfig, SamplerKind};

    fn picture(prompt: &str, seed: u64) -> PictureConfig {
        SampleConfig::default().picture(prompt.into(), seed)
    }

    fn refused(pictures: &[PictureConfig], axes: &[Axis]) -> String {
        plan_sheets(pictures, axes).unwrap_err().to_string()
    }

    #[test]
    fn every_picture_stands_on_a_sheet_whatever_it_differs_in() {
        let mut pictures = Vec::new();
        for (i, seed) in [(0, 1), (1, 2)] {
            let one = picture("a cup", seed);
            pictures.push(PictureConfig { negative_prompt: "dark".into(), ..one.clone() });
            pictures.push(PictureConfig { eta: 0.5, ..one.clone() });
            pictures.push(PictureConfig { sampler: SamplerKind::Euler, karras: true, ..one.clone() });
            pictures.push(PictureConfig { sampler: SamplerKind::Euler, ..one.clone() });
            pictures.push(PictureConfig { steps: 7, strength: 0.5, guidance_scale: 3.0, ..one });
            assert_eq!(pictures.len(), 5 * (i + 1));
        }
        let sheets = plan_sheets(&pictures, &[Axis::Seed, Axis::Prompt]).unwrap();
        assert_eq!(sheets.len(), 5);
        let mut all: Vec<usize> = sheets.iter().flat_map(|sheet| sheet.cells.iter().map(|cell| cell.2)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(sheets.iter().map(|sheet| &sheet.labels.title).collect::<HashSet<_>>().len(), 5);
        let by_sampler = plan_sheets(&pictures, &[Axis::Sampler, Axis::Seed]).unwrap();
        assert!(by_sampler.iter().any(|sheet| sheet.labels.columns == ["euler karras", "euler"]), "{by_sampler:?}");
    }

    #[test]
    fn sheets_that_cannot_be_looked_at_are_refused() {
        let two = [picture("a cup", 1), picture("a cup", 2)];
        assert!(refused(&two, &[Axis::Seed, Axis::Seed]).contains("seed as columns and seed as rows"));
        assert!(refused(&two, &[Axis::Seed, Axis::Prompt, Axis::Eta]).contains("3 settings"));
        assert!(refused(&[two[0].clone(), two[0].clone()], &[Axis::Seed]).contains("pictures 1 and 2"));
        let many: Vec<_> = (0..300).map(|seed| picture("a cup", seed)).collect();
        let said = refused(&many, &[Axis::Prompt]);
        assert!(said.contains("300 sheets") && said.contains("each value of seed"), "{said}");
    }

    #[test]
    fn what_the_font_cannot_write_is_numbered_and_told_beside() {
        let pictures = [picture("a cup", 1), picture("茶壺", 1), picture("茶碗", 1)];
        let [sheet] = &plan_sheets(&pictures, &[Axis::Prompt]).unwrap()[..] else { panic!("one sheet") };
        assert_eq!(sheet.labels.columns, ["a cup", "prompt 2", "prompt 3"]);
        let told = [("prompt 2", "茶壺"), ("prompt 3", "茶碗")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(sheet.legend, told);
        let above = plan_sheets(&pictures, &[Axis::Seed]).unwrap();
        assert_eq!(
            above.iter().map(|sheet| sheet.labels.title.as_str()).collect::<Vec<_>>(),
            ["a cup", "prompt 2", "prompt 3"]
        );
        assert_eq!(above[2].legend, told[1..]);
    }
}
