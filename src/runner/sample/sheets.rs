//! The contact sheets of a sampling, once all its pictures are there.

use std::collections::HashMap;
use std::path::Path;

use super::Planned;
use crate::image::{contact_sheet, read_photo, write_png};
use crate::protocol::{Axis, PictureConfig};
use crate::runner::Error;
use crate::workspace::plan_sheets;

/// Write `grid-001.png`, ... into `root`, where `axes` are named. A picture that was removed meanwhile leaves its place white.
pub(super) fn write(root: &Path, pictures: &[PictureConfig], plan: &[Planned], axes: &[Axis]) -> Result<(), Error> {
    for (number, sheet) in plan_sheets(pictures, axes)?.into_iter().enumerate() {
        let cells: HashMap<(usize, usize), usize> =
            sheet.cells.iter().map(|(column, row, picture)| ((*column, *row), *picture)).collect();
        let image = contact_sheet(&sheet.labels, |column, row| {
            let path = cells.get(&(column, row)).map(|picture| root.join(&plan[*picture].path));
            path.filter(|path| path.is_file()).map(|path| read_photo(&path)).transpose()
        })?;
        if image.width() > 0 {
            write_png(&root.join(format!("grid-{:03}.png", number + 1)), &image, &[])?;
        }
    }
    Ok(())
}
