//! Which picture of a sampling stands where on its contact sheets.

use std::path::Path;

use super::Error;
use crate::image::Labels;
use crate::protocol::{Axis, PictureConfig};

/// The most columns of a sheet.
const MAX_COLUMNS: usize = 64;
/// The most rows.
const MAX_ROWS: usize = 256;

/// One sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetPlan {
    /// What is written on it.
    pub labels: Labels,
    /// (column, row, number of the picture), from 0.
    pub cells: Vec<(usize, usize, usize)>,
}

/// Put `pictures` on sheets whose columns are the values of the first of `axes` and whose rows are those of the second. Where
/// they differ in something else too, each combination has a sheet of its own, which says it above.
///
/// # Errors
/// Sheets too large to be looked at.
pub fn plan_sheets(pictures: &[PictureConfig], axes: &[Axis]) -> Result<Vec<SheetPlan>, Error> {
    let [columns, rest @ ..] = axes else { return Ok(Vec::new()) };
    let rows = rest.first();
    let values = |axis: Axis| distinct(pictures.iter().map(|picture| axis.label(picture)));
    let others: Vec<Axis> = Axis::ALL
        .into_iter()
        .map(|(axis, _)| axis)
        .filter(|axis| axis != columns && Some(axis) != rows && values(*axis).len() > 1)
        .collect();
    let title = |picture: &PictureConfig| others.iter().map(|axis| axis.label(picture)).collect::<Vec<_>>().join(", ");
    let mut sheets: Vec<(SheetPlan, Vec<usize>)> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for (i, picture) in pictures.iter().enumerate() {
        let at = *known.entry(title(picture)).or_insert_with_key(|title| {
            let labels = Labels { title: title.clone(), ..Labels::default() };
            sheets.push((SheetPlan { labels, cells: Vec::new() }, Vec::new()));
            sheets.len() - 1
        });
        sheets[at].1.push(i);
    }
    for (sheet, members) in &mut sheets {
        let of = |axis: Axis| distinct(members.iter().map(|&i| axis.label(&pictures[i])));
        sheet.labels.columns = of(*columns);
        sheet.labels.rows = rows.map(|axis| of(*axis)).unwrap_or_default();
        for (what, found, most) in [
            (columns, sheet.labels.columns.len(), MAX_COLUMNS),
            (rows.unwrap_or(columns), sheet.labels.rows.len(), MAX_ROWS),
        ] {
            if found > most {
                let word = Axis::ALL.iter().find(|(axis, _)| axis == what).map_or("", |(_, word)| word);
                let problem = format!("a sheet with {found} values of {word}, over {most}");
                let remedy =
                    format!("a sheet has up to {MAX_COLUMNS} columns and {MAX_ROWS} rows: take fewer, or swap the two");
                return Err(Error::invalid(Path::new("--grid"), problem, remedy));
            }
        }
        let mut taken = std::collections::HashSet::new();
        let place = |labels: &[String], label: &String| labels.iter().position(|known| known == label).unwrap_or(0);
        for &i in members.iter() {
            let column = place(&sheet.labels.columns, &columns.label(&pictures[i]));
            let row = rows.map_or(0, |axis| place(&sheet.labels.rows, &axis.label(&pictures[i])));
            // Of several in one place, as the same picture twice, the first is shown.
            if taken.insert((column, row)) {
                sheet.cells.push((column, row, i));
            }
        }
    }
    Ok(sheets.into_iter().map(|(sheet, _)| sheet).collect())
}

/// Each once, in their order.
fn distinct(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    labels.filter(|label| seen.insert(label.clone())).collect()
}
