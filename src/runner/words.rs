//! Words of a sampling that files add: embeddings.

use super::Error;
use super::estimate::Job;
use crate::diffusion::Embedding;
use crate::fs::sha256;
use crate::personalize::prompt_text;
use crate::workspace;

/// Read the embeddings that `job` names.
///
/// # Errors
/// A file that is none, or not the one that was named when the job was made. A word that stands in no prompt: the file
/// would change nothing.
pub(super) fn read(job: &Job) -> Result<Vec<Embedding>, Error> {
    if job.sample.shared.embeddings.is_empty() {
        return Ok(Vec::new());
    }
    let prompts = job.pictures.iter().flat_map(|picture| [&picture.prompt, &picture.negative_prompt]);
    let texts: Vec<String> = prompts.map(|prompt| prompt_text(prompt, job.class_word).to_lowercase()).collect();
    let mut embeddings = Vec::new();
    for file in &job.sample.shared.embeddings {
        if sha256(&file.path).map_err(workspace::Error::io("read", &file.path))? != file.sha256 {
            return Err(Error::EmbeddingChanged(file.path.clone()));
        }
        let embedding = Embedding::read(&file.path, file.token.as_deref())?;
        let word = embedding.token.to_lowercase();
        if !texts.iter().any(|text| text.contains(&word)) {
            return Err(Error::UnusedEmbedding { path: file.path.clone(), token: embedding.token });
        }
        embeddings.push(embedding);
    }
    Ok(embeddings)
}
