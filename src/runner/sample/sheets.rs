//! The contact sheets of a sampling, once all its pictures are there.

use std::collections::HashMap;

use super::Planned;
use crate::image::{contact_sheet, read_photo, write_png};
use crate::protocol::{Axis, PictureConfig};
use crate::runner::Error;
use crate::workspace::{JobFolder, plan_sheets};

/// Write the sheets of `job`, where `axes` are named. A picture that was removed meanwhile leaves its place white.
pub(super) fn write(job: &JobFolder, pictures: &[PictureConfig], plan: &[Planned], axes: &[Axis]) -> Result<(), Error> {
    for (number, sheet) in plan_sheets(pictures, axes)?.into_iter().enumerate() {
        let cells: HashMap<(usize, usize), usize> =
            sheet.cells.iter().map(|(column, row, picture)| ((*column, *row), *picture)).collect();
        let image = contact_sheet(&sheet.labels, |column, row| {
            let path = cells.get(&(column, row)).map(|picture| job.path().join(&plan[*picture].path));
            path.filter(|path| path.is_file()).map(|path| read_photo(&path)).transpose()
        })?;
        if image.width() > 0 {
            write_png(&job.sheet(number + 1), &image, &[])?;
        }
    }
    Ok(())
}
