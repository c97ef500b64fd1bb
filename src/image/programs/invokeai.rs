//! InvokeAI: from version 3 on JSON as `invokeai_metadata`; in version 2 JSON as `sd-metadata`, and in versions 1 and 2 a command
//! line as `Dream`. There what is in square brackets of the prompt is the negative one.

use serde_json::{Map, Value};

use super::{Names, Texts, model_name, plain, settings, size, text};
use crate::image::Parameters;

const NAMES: Names<'static> = &[
    ("steps", "Steps"),
    ("sampler", "Sampler"),
    ("scheduler", "Sampler"),
    ("cfg_scale", "CFG scale"),
    ("seed", "Seed"),
];

pub(super) fn read(texts: &Texts<'_>) -> Option<Parameters> {
    if let Some(metadata) =
        texts.object("invokeai_metadata").filter(|metadata| metadata.contains_key("positive_prompt"))
    {
        let negative = text(metadata.get("negative_prompt"));
        return Some(of(&metadata, text(metadata.get("positive_prompt")), negative, model(&metadata)));
    }
    if let Some(metadata) = texts.object("sd-metadata") {
        let image = metadata.get("image")?.as_object()?;
        let (prompt, negative) = without_brackets(&prompt_of(image.get("prompt")?));
        return Some(of(image, prompt, negative, metadata.get("model_weights").and_then(plain)));
    }
    dream(texts.get("Dream").or_else(|| texts.get("dream"))?)
}

fn of(object: &Map<String, Value>, prompt: String, negative_prompt: String, model: Option<String>) -> Parameters {
    let mut said = settings(object, NAMES);
    said.extend(size(object));
    said.extend(model.map(|model| ("Model".into(), model_name(&model))));
    said.extend(settings(object, &[("app_version", "Version")]));
    Parameters { program: Some("InvokeAI"), prompt, negative_prompt, settings: said }
}

/// `{"model_name": ...}` of version 3, `{"name": ...}` of later ones.
fn model(metadata: &Map<String, Value>) -> Option<String> {
    let model = metadata.get("model")?;
    plain(model).or_else(|| plain(model.get("model_name").or_else(|| model.get("name"))?))
}

/// A text, or several with weights.
fn prompt_of(prompt: &Value) -> String {
    match prompt {
        Value::Array(all) => all.iter().map(prompt_of).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", "),
        Value::Object(one) => text(one.get("prompt")),
        other => text(Some(other)),
    }
}

/// The prompt without what is in square brackets, and that.
fn without_brackets(prompt: &str) -> (String, String) {
    let (mut positive, mut negative, mut depth) = (String::new(), Vec::new(), 0_usize);
    let mut letters = prompt.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\\' if letters.peek().is_some_and(|next| "[]".contains(*next)) => positive.extend(letters.next()),
            '[' => {
                depth += 1;
                negative.push(String::new());
            }
            ']' if depth > 0 => depth -= 1,
            c if depth > 0 => negative.last_mut().into_iter().for_each(|part| part.push(c)),
            c => positive.push(c),
        }
    }
    let positive = positive.split_whitespace().collect::<Vec<_>>().join(" ");
    let negative = negative.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    (positive, negative.collect::<Vec<_>>().join(", "))
}

/// `"a teapot [blurry]" -s 30 -S 42 -W 512 -H 512 -C 7.5 -A k_lms`
fn dream(line: &str) -> Option<Parameters> {
    let words = shell_words::split(line).ok()?;
    let mut words = words.iter();
    let (prompt, negative_prompt) = without_brackets(words.next()?);
    let mut said = Map::new();
    let known =
        [("-s", "steps"), ("-S", "seed"), ("-W", "width"), ("-H", "height"), ("-C", "cfg_scale"), ("-A", "sampler")];
    while let Some(word) = words.next() {
        for (option, name) in known {
            // `-s30` is `-s 30`.
            let value = if word == option {
                words.as_slice().first().cloned()
            } else {
                word.strip_prefix(option).map(str::to_owned)
            };
            if let Some(value) = value.filter(|value| !value.starts_with('-')) {
                said.insert(name.into(), value.into());
            }
        }
    }
    (!said.is_empty()).then(|| of(&said, prompt, negative_prompt, None))
}
