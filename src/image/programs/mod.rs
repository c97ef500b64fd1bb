//! What other programs write into pictures of how they were made, a file for each kind. What they have in common is said in the
//! words of web UIs: Steps, Sampler, Schedule type, CFG scale, Seed, Size, Model.

mod comfyui;
mod draw_things;
mod fooocus;
mod invokeai;
mod novelai;
mod swarmui;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Parameters;
use super::provenance::PARAMETERS;

/// What programs call a setting that several have: their name, and the name in web UIs.
type Names<'a> = &'a [(&'a str, &'a str)];

/// The texts of a picture, with their keywords.
struct Texts<'a>(&'a [(String, String)]);

impl Texts<'_> {
    fn get(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == keyword).map(|(_, value)| value.as_str())
    }

    /// The JSON object under this keyword.
    fn object(&self, keyword: &str) -> Option<Map<String, Value>> {
        serde_json::from_str(&without_odd_numbers(self.get(keyword)?)).ok()
    }
}

/// JSON as Python writes it, with `null` for NaN and infinities, which JSON does not have.
fn without_odd_numbers(json: &str) -> Cow<'_, str> {
    if !json.contains("NaN") && !json.contains("Infinity") {
        return json.into();
    }
    let (mut plain, mut rest, mut quoted) = (String::with_capacity(json.len()), json, false);
    while let Some(c) = rest.chars().next() {
        let odd = ["NaN", "-Infinity", "Infinity"].into_iter().find(|odd| !quoted && rest.starts_with(odd));
        // What stands behind a backslash ends no text.
        let length = odd.map_or_else(|| if quoted && c == '\\' { 2 } else { c.len_utf8() }, str::len);
        let length = if rest.is_char_boundary(length) { length } else { c.len_utf8() };
        quoted ^= c == '"';
        plain.push_str(if odd.is_some() { "null" } else { &rest[..length] });
        rest = &rest[length..];
    }
    plain.into()
}

/// Whether `text` is JSON, or was meant to be, rather than anything that people write.
fn looks_like_json(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|inner| inner.trim_start().starts_with('"'))
}

/// What the texts of a picture say of how it was made; none where they say nothing that is read here.
pub(super) fn read(texts: &[(String, String)]) -> Option<Parameters> {
    let texts = Texts(texts);
    for keyword in [PARAMETERS, "UserComment", "Comment", "ImageDescription"] {
        let object = texts.object(keyword);
        if let Some(object) = &object
            && let Some(read) =
                swarmui::read(object).or_else(|| fooocus::read(object)).or_else(|| draw_things::read(object))
        {
            return Some(read);
        }
        let text = texts.get(keyword).filter(|text| object.is_none() && !looks_like_json(text));
        let read = text.map(Parameters::parse);
        // What web UIs write has settings; a comment without is one of anybody's.
        if let Some(read) = read.filter(|read| keyword == PARAMETERS || !read.settings.is_empty()) {
            return Some(read);
        }
    }
    comfyui::read(&texts)
        .or_else(|| novelai::read(&texts))
        .or_else(|| invokeai::read(&texts))
        .or_else(|| draw_things::read_xmp(&texts))
        .or_else(|| by_keyword(&texts))
}

/// Each setting under a keyword of its own: this program before it kept records, and Easy Diffusion.
fn by_keyword(texts: &Texts<'_>) -> Option<Parameters> {
    let prompt = texts.get("prompt")?;
    if looks_like_json(prompt) || prompt.trim_start().starts_with('{') && texts.object("prompt").is_some() {
        return None;
    }
    let settings = texts.0.iter().filter(|(key, _)| !["prompt", "negative_prompt"].contains(&key.as_str()));
    let name = |key: &String| if key == "seed" { "Seed".to_owned() } else { key.clone() };
    Some(Parameters {
        program: None,
        prompt: prompt.to_owned(),
        negative_prompt: texts.get("negative_prompt").unwrap_or_default().to_owned(),
        settings: settings.map(|(key, value)| (name(key), value.clone())).collect(),
    })
}

/// A number or text as people read it; none for what is empty.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(match number.as_f64() {
            // 8.0 is 8; whole numbers stay as they are, however large.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        }),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

/// A text, or nothing.
fn text(value: Option<&Value>) -> String {
    value.and_then(plain).unwrap_or_default()
}

/// The settings in `object` that are among `names`, in the order of these.
fn settings(object: &Map<String, Value>, names: Names<'_>) -> Vec<(String, String)> {
    let said = names.iter().filter_map(|(own, name)| Some(((*name).to_owned(), plain(object.get(*own)?)?)));
    said.collect()
}

/// Width and height, where both are there.
fn size(object: &Map<String, Value>) -> Option<(String, String)> {
    let side = |name| object.get(name).and_then(plain);
    Some(("Size".into(), format!("{}x{}", side("width")?, side("height")?)))
}

/// The model under `name`, where it is there.
fn model(object: &Map<String, Value>, name: &str) -> Option<(String, String)> {
    object.get(name).and_then(plain).map(|model| ("Model".into(), model_name(&model)))
}

/// The file or model in `value` by its name, without folders and ending.
fn model_name(value: &str) -> String {
    let file = value.rsplit(['/', '\\']).next().unwrap_or(value);
    let endings = [".safetensors", ".ckpt", ".pt", ".pth", ".gguf"];
    endings.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keyword: &str, text: &str) -> Option<Parameters> {
        read(&[(keyword.to_owned(), text.to_owned())])
    }

    #[test]
    fn a_graph_that_leads_back_to_itself_or_doubles_at_each_level_ends() {
        let sampler =
            r#""1":{"class_type":"KSampler","inputs":{"positive":["2",0],"negative":["9",0],"seed":3,"steps":20}}"#;
        let combine = |id: usize, next: [usize; 2]| {
            let [a, b] = next;
            format!(
                r#""{id}":{{"class_type":"ConditioningCombine","inputs":{{"conditioning_1":["{a}",0],"conditioning_2":["{b}",0]}}}}"#
            )
        };
        let text = r#""100":{"class_type":"CLIPTextEncode","inputs":{"text":"a cat","clip":["8",1]}}"#;
        let cycle = format!("{{{sampler},{},{}}}", combine(2, [3, 3]), combine(3, [2, 2]));
        assert_eq!(of("prompt", &cycle).map(|read| read.prompt), Some(String::new()));
        let levels: Vec<String> = (2..100).map(|id| combine(id, [id + 1, id + 1])).collect();
        let doubling = format!("{{{sampler},{},{text}}}", levels.join(","));
        assert_eq!(of("prompt", &doubling).map(|read| read.prompt), Some("a cat".to_owned()));
    }

    #[test]
    fn numbers_that_json_does_not_have_are_passed_over_and_json_is_no_prompt() {
        let graph = r#"{"1":{"class_type":"KSampler","inputs":{"positive":["2",0],"negative":["2",0],"seed":3,"steps":20},"is_changed":[NaN, -Infinity]},
            "2":{"class_type":"CLIPTextEncode","inputs":{"text":"NaN, a \"Infinity\" cup\\","clip":["8",1]}}}"#;
        let read = of("prompt", graph).unwrap_or_default();
        assert_eq!((read.program, read.prompt.as_str()), (Some("ComfyUI"), r#"NaN, a "Infinity" cup\"#));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        for keyword in ["prompt", "parameters"] {
            assert!(of(keyword, &deep).is_none(), "{keyword}");
        }
        assert_eq!(of("prompt", "{red|blue} cup").map(|read| read.prompt), Some("{red|blue} cup".to_owned()));
    }
}
