//! The contact sheets of a sampling, once all its pictures are there.

use std::collections::{HashMap, HashSet};

use super::Planned;
use crate::fs::write_atomic;
use crate::image::{contact_sheet, read_photo, write_png};
use crate::protocol::{Axis, PictureConfig};
use crate::runner::Error;
use crate::workspace::{self, JobFolder, plan_sheets};

/// Write the sheets of `job`, where `axes` are named, and beside them what they have no letters for. A picture that was removed meanwhile leaves its place white.
pub(super) fn write(job: &JobFolder, pictures: &[PictureConfig], plan: &[Planned], axes: &[Axis]) -> Result<(), Error> {
    let sheets = plan_sheets(pictures, axes)?;
    let mut told = HashSet::new();
    let legend: Vec<String> = sheets
        .iter()
        .flat_map(|sheet| &sheet.legend)
        .filter(|pair| told.insert(*pair))
        .map(|(label, text)| format!("{label}: {text}\n"))
        .collect();
    if !legend.is_empty() {
        let path = job.legend();
        write_atomic(&path, legend.concat().as_bytes()).map_err(workspace::Error::io("write", &path))?;
    }
    for (number, sheet) in sheets.into_iter().enumerate() {
        let cells: HashMap<(usize, usize), usize> =
            sheet.cells.iter().map(|(column, row, picture)| ((*column, *row), *picture)).collect();
        let image = contact_sheet(&sheet.labels, |column, row| {
            let path = cells.get(&(column, row)).map(|picture| job.path().join(&plan[*picture].path));
            path.filter(|path| path.is_file()).map(|path| read_photo(&path)).transpose()
        })?;
        if image.width() > 0 {
            let legend: Vec<String> = sheet.legend.iter().map(|(label, text)| format!("{label}: {text}")).collect();
            let legend = legend.join("\n");
            // The keyword that PNG has for it.
            let text = [("Description", legend.as_str())];
            write_png(&job.sheet(number + 1), &image, &text[..usize::from(!legend.is_empty())])?;
        }
    }
    Ok(())
}
