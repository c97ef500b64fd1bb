//! Draw Things: JSON with `c` and `uc` as the comment of EXIF, which a PNG has in its XMP.

use serde_json::{Map, Value};

use super::{Names, Texts, model, settings, text};
use crate::image::Parameters;
use crate::image::provenance::XMP;

const NAMES: Names<'static> =
    &[("steps", "Steps"), ("sampler", "Sampler"), ("scale", "CFG scale"), ("seed", "Seed"), ("size", "Size")];

pub(super) fn read(object: &Map<String, Value>) -> Option<Parameters> {
    if !["c", "uc", "sampler"].iter().all(|name| object.contains_key(*name)) {
        return None;
    }
    let mut said = settings(object, NAMES);
    said.extend(model(object, "model"));
    said.extend(settings(object, &[("strength", "Denoising strength")]));
    Some(Parameters {
        program: Some("Draw Things"),
        prompt: text(object.get("c")),
        negative_prompt: text(object.get("uc")),
        settings: said,
    })
}

pub(super) fn read_xmp(texts: &Texts<'_>) -> Option<Parameters> {
    let (_, comment) = texts.get(XMP)?.split_once("exif:UserComment")?;
    let begin = comment.find('{')?;
    let end = comment[begin..].find(['<']).map_or(comment.len(), |end| begin + end);
    let json = unescaped(&comment[begin..end]);
    // As an attribute it ends with a quote.
    let json = &json[..=json.rfind('}')?];
    read(&serde_json::from_str(json).ok()?)
}

/// XML's text as it is meant.
fn unescaped(text: &str) -> String {
    let known = [
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#10;", "\n"),
        ("&#xA;", "\n"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    let text = known.iter().fold(text.to_owned(), |text, (coded, plain)| text.replace(coded, plain));
    text.replace("&amp;", "&")
}
