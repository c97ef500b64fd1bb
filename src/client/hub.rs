//! Base models of the Hugging Face hub, by the `hf-hub` crate: into its usual cache, each file once, with a progress bar a
//! file; a download that was cut off goes on where it stopped (feature `hub`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};

use super::Error;

/// Download the model `owner/repo`, and return its diffusers folder, or its only model file.
pub fn download_model(name: &str) -> Result<PathBuf, Error> {
    let failed = |cause: String| Error::Hub { repo: name.to_owned(), cause };
    let api = ApiBuilder::from_env().with_progress(true).build().map_err(|e| failed(e.to_string()))?;
    let info = api.model(name.to_owned()).info().map_err(|e| failed(e.to_string()))?;
    // Of one revision from the first file to the last, whatever is pushed in between or was downloaded before.
    let repo = api.repo(Repo::with_revision(name.to_owned(), RepoType::Model, info.sha));
    let files: BTreeSet<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    let wanted = wanted(&files).map_err(failed)?;
    wanted.iter().try_for_each(|file| check_name(file)).map_err(failed)?;
    let mut first = None;
    for file in &wanted {
        let path = repo.get(file).map_err(|e| failed(format!("{file}: {e}")))?;
        first.get_or_insert(path);
    }
    let first = first.ok_or_else(|| failed("it has no files".into()))?;
    // All files of one revision are in one folder; `model_index.json` is at its root.
    Ok(match first.parent() {
        Some(folder) if wanted[0] == INDEX => folder.to_owned(),
        _ => first,
    })
}

const INDEX: &str = "model_index.json";

/// Refuse the name of a file that would be written elsewhere than below the folder of its repository.
fn check_name(name: &str) -> Result<(), String> {
    let is_odd = |part: &str| ["", ".", ".."].contains(&part) || part.contains(|c: char| c == '\\' || c.is_control());
    if name.split('/').any(is_odd) {
        return Err(format!("it lists a file {name:?}, which would lie outside of its folder: do not trust it"));
    }
    Ok(())
}

/// The files of a repository that a base model needs, its index first; or its one model file.
fn wanted(files: &BTreeSet<String>) -> Result<Vec<String>, String> {
    if !files.contains(INDEX) {
        let models: Vec<&String> = files.iter().filter(|file| is_weights(file)).collect();
        return match models.as_slice() {
            [one] => Ok(vec![(*one).clone()]),
            [] => Err("it has neither model_index.json nor a model file".into()),
            _ => Err(format!("it has {} model files and no model_index.json: download the one you want", models.len())),
        };
    }
    let mut wanted = vec![INDEX.to_owned()];
    let small = |file: &&String| {
        let part = file.split_once('/').map(|(part, _)| part);
        let part = part.is_some_and(|part| ["scheduler", "text_encoder", "tokenizer", "unet", "vae"].contains(&part));
        part && (file.ends_with("config.json") || file.starts_with("tokenizer/"))
    };
    wanted.extend(files.iter().filter(small).cloned());
    for part in ["text_encoder", "unet", "vae"] {
        wanted.extend(weights(files, part).ok_or_else(|| format!("it has no weights in {part}/"))?);
    }
    Ok(wanted)
}

/// The files of one part's weights, in the order of preference in which they are read.
fn weights(files: &BTreeSet<String>, part: &str) -> Option<Vec<String>> {
    for variant in ["", ".fp16"] {
        for form in ["safetensors", "bin"] {
            for stem in ["diffusion_pytorch_model", "model", "pytorch_model"] {
                let single = format!("{part}/{stem}{variant}.{form}");
                if files.contains(&single) {
                    return Some(vec![single]);
                }
                let index = format!("{part}/{stem}.{form}.index{variant}.json");
                if files.contains(&index) {
                    let shard = |file: &&String| {
                        let rest = file.strip_prefix(&format!("{part}/{stem}"));
                        rest.is_some_and(|rest| rest.contains("-of-") && rest.ends_with(form))
                    };
                    return Some(std::iter::once(index.clone()).chain(files.iter().filter(shard).cloned()).collect());
                }
            }
        }
    }
    None
}

/// Whether a file of this name holds weights.
fn is_weights(file: &str) -> bool {
    std::path::Path::new(file).extension().is_some_and(|ending| ending == "safetensors" || ending == "ckpt")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn files(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn of_many_files_only_what_is_read_is_downloaded() {
        let all = files(&[
            "README.md",
            "model_index.json",
            "v1-5-pruned.ckpt",
            "safety_checker/model.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.safetensors.index.json",
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.bin",
        ]);
        let wanted = wanted(&all).unwrap();
        assert_eq!(wanted[0], INDEX);
        let left: Vec<&str> = all.iter().filter(|file| !wanted.contains(file)).map(String::as_str).collect();
        let expected = [
            "README.md",
            "safety_checker/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "v1-5-pruned.ckpt",
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_name_that_leads_out_of_the_repository_is_refused() {
        for name in ["model_index.json", "unet/config.json", "tokenizer/a..b.json", "tokenizer/.hidden", "vae/é.bin"] {
            check_name(name).unwrap();
        }
        let out = [
            "tokenizer/../../x",
            "../x",
            "/etc/x",
            "tokenizer//x",
            "tokenizer/./x",
            "tokenizer/",
            "",
            "a\\..\\x",
            "a/\u{1b}x",
        ];
        for name in out {
            assert!(check_name(name).unwrap_err().contains("do not trust it"), "{name:?}");
        }
        let listed = wanted(&files(&["../x.safetensors"])).unwrap();
        assert!(listed.iter().any(|file| check_name(file).is_err()));
    }

    #[test]
    fn a_repository_of_one_file_is_that_file_and_several_are_a_question() {
        assert_eq!(wanted(&files(&["a.safetensors", "README.md"])).unwrap(), ["a.safetensors"]);
        assert!(wanted(&files(&["a.safetensors", "b.ckpt"])).unwrap_err().contains("2 model files"));
        assert!(wanted(&files(&["README.md"])).is_err());
    }
}
