//! Which pictures are made together, and under which names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::protocol::PictureConfig;
use crate::workspace::copies::picture_name;

/// One picture of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Where it goes.
    pub path: PathBuf,
    /// Its settings.
    pub config: PictureConfig,
    /// The batch it belongs to.
    batch: usize,
    /// Pictures that are denoised in that batch.
    batch_size: usize,
}

/// Pictures that are denoised together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    /// As many are denoised, copies among them where fewer are left to be made: what a picture becomes depends on how many
    /// there are, by the order in which sums are made, and must not depend on what was made before.
    pub size: usize,
    /// Those to be made.
    pub pictures: Vec<Planned>,
}

/// Name `pictures` by their number and seed in `folder`, and put those into batches of `batch_size` that can be denoised
/// together; with `fill` all batches are of that size.
pub fn plan(folder: &Path, pictures: &[PictureConfig], batch_size: usize, fill: bool) -> Vec<Planned> {
    let mut groups: Vec<(&PictureConfig, Vec<usize>)> = Vec::new();
    for (i, picture) in pictures.iter().enumerate() {
        match groups.iter_mut().find(|(first, _)| go_together(first, picture)) {
            Some((_, group)) => group.push(i),
            None => groups.push((picture, vec![i])),
        }
    }
    let mut batches = vec![(0, 0); pictures.len()];
    let all = groups.iter().flat_map(|(_, group)| group.chunks(batch_size.max(1)));
    for (number, batch) in all.enumerate() {
        for &i in batch {
            batches[i] = (number, if fill { batch_size.max(1) } else { batch.len() });
        }
    }
    let planned = |((i, config), (batch, batch_size)): ((usize, &PictureConfig), (usize, usize))| Planned {
        path: folder.join(picture_name(i, pictures.len(), config.seed)),
        config: config.clone(),
        batch,
        batch_size,
    };
    pictures.iter().enumerate().zip(batches).map(planned).collect()
}

/// How many batches of `batch_size` the `pictures` make.
pub fn count(pictures: &[PictureConfig], batch_size: usize) -> usize {
    pending(&plan(Path::new(""), pictures, batch_size, false), &HashSet::new()).len()
}

/// Whether two pictures can be denoised together.
fn go_together(a: &PictureConfig, b: &PictureConfig) -> bool {
    let guided = |picture: &PictureConfig| picture.is_guided();
    (a.noise, a.sampler, a.karras, a.steps, guided(a)) == (b.noise, b.sampler, b.karras, b.steps, guided(b))
        && a.eta.to_bits() == b.eta.to_bits()
}

/// The batches of `plan` without what has been `made`, in the order of their first pictures.
pub(super) fn pending(plan: &[Planned], made: &HashSet<PathBuf>) -> Vec<Batch> {
    let mut batches: Vec<(usize, Batch)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for planned in plan.iter().filter(|planned| !made.contains(&planned.path)) {
        let at = *places.entry(planned.batch).or_insert_with(|| {
            batches.push((planned.batch, Batch { size: planned.batch_size, pictures: Vec::new() }));
            batches.len() - 1
        });
        batches[at].1.pictures.push(planned.clone());
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::SampleConfig;

    fn pictures(steps: &[usize]) -> Vec<PictureConfig> {
        let picture = |(seed, steps): (u64, &usize)| PictureConfig {
            steps: *steps,
            ..SampleConfig::default().picture("a {concept}".into(), seed)
        };
        (0..).zip(steps).map(picture).collect()
    }

    #[test]
    fn pictures_of_equal_steps_are_made_together_and_each_has_a_name_of_its_own() {
        let plan = plan(Path::new("after"), &pictures(&[2, 3, 2, 2, 3, 2]), 3, false);
        let batches = pending(&plan, &HashSet::new());
        let of: Vec<(usize, Vec<u64>)> = batches
            .iter()
            .map(|batch| (batch.size, batch.pictures.iter().map(|planned| planned.config.seed).collect()))
            .collect();
        assert_eq!(of, [(3, vec![0, 2, 3]), (2, vec![1, 4]), (1, vec![5])]);
        assert_eq!(count(&pictures(&[2, 3, 2, 2, 3, 2]), 3), 3);
        assert_eq!(plan[4].path, Path::new("after/005-seed-4.png"));
        assert_eq!(plan.iter().map(|planned| &planned.path).collect::<HashSet<_>>().len(), 6);
    }

    #[test]
    fn what_was_made_is_left_out_and_the_rest_is_computed_as_before() {
        let plan = plan(Path::new(""), &pictures(&[2, 2, 2, 2, 2]), 3, false);
        let made = plan.iter().take(2).map(|planned| planned.path.clone()).collect();
        let batches = pending(&plan, &made);
        assert_eq!(
            batches.iter().map(|batch| (batch.size, batch.pictures.len())).collect::<Vec<_>>(),
            [(3, 1), (2, 2)]
        );
    }

    #[test]
    fn a_picture_that_is_made_again_stands_in_a_batch_as_large_as_then() {
        let batches = pending(&plan(Path::new(""), &pictures(&[2]), 4, true), &HashSet::new());
        assert_eq!((batches[0].size, batches[0].pictures.len()), (4, 1));
    }
}
