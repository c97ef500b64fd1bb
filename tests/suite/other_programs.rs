//! What other programs write into pictures is read, or named: `tests/fixtures/provenance.py` made the pictures, and says what is in
//! them.

use std::fs::read_to_string;

use crate::common::{Workspace, catbench, fixture, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::image::{Provenance, read_photo, read_provenance};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Map, Value};

fn expected() -> Map<String, Value> {
    serde_json::from_str(&read_to_string(fixture("provenance/expected.json")).unwrap()).unwrap()
}

#[test]
fn pictures_of_other_programs_are_read_or_named_rightly() {
    let workspace = Workspace::new();
    let expected = expected();
    assert!(expected.len() >= 40, "{}", expected.len());
    for (name, wanted) in &expected {
        let path = fixture("provenance").join(name);
        assert!(read_photo(&path).is_ok(), "{name}");
        let shown = json(&workspace, &["show", path.to_str().unwrap()]);
        assert_eq!(shown["said"], wanted["said"], "{name}: {shown}");
        let said = &shown["provenance"];
        match wanted["said"].as_str().unwrap() {
            "parameters" => {
                for what in ["program", "prompt", "negative_prompt"] {
                    assert_eq!(said[what], wanted[what], "{name}: {what} of {said}");
                }
                let found: Map<String, Value> = said["settings"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| (one[0].as_str().unwrap().into(), one[1].clone()))
                    .collect();
                for (setting, value) in wanted["settings"].as_object().unwrap() {
                    assert_eq!(found.get(setting), Some(value), "{name}: {setting} of {found:?}");
                }
            }
            "unread" => assert_eq!(said["text"], wanted["text"], "{name}"),
            _ => assert!(said.is_null(), "{name}: {said}"),
        }
    }
}

#[test]
fn show_says_who_wrote_it_and_what_it_cannot_read() {
    let workspace = Workspace::new();
    let show = |name: &str| {
        let path = fixture("provenance").join(name);
        catbench(&workspace, &["show", path.to_str().unwrap()]).assert().code(0)
    };
    show("comfyui.png")
        .stdout(contains("what ComfyUI wrote").and(contains("a teapot on a log")).and(contains("class_type").not()));
    show("fooocus.jpg").stdout(contains("what Fooocus wrote").and(contains("dpmpp_2m_sde_gpu")));
    show("a1111.jpg").stdout(contains("another program").and(contains("DPM++ 2M")).and(contains("茶壺")));
    show("comfyui_drawn.png").stdout(contains("not read here").and(contains("workflow")));
    show("diffusers.webp").stdout(contains("does not say how it was made"));
    for (name, words) in [("camera.jpg", "ImageDescription"), ("comfyui.png", "another program made it")] {
        let path = fixture("provenance").join(name);
        catbench(&workspace, &["replay", path.to_str().unwrap()]).assert().code(1).stderr(contains(words));
    }
}

#[test]
fn a_picture_says_its_prompt_and_seed_where_its_program_is_known() {
    let read = |name: &str| read_provenance(&fixture("provenance").join(name)).unwrap();
    for (name, prompt, seed) in [
        ("comfyui.png", "a teapot on a log", 1_102_676_403_634_909),
        ("novelai.png", "a teapot, {{shiny}}", 4_028_746_890),
        ("invokeai1.png", "a teapot on grass", 42),
        ("fooocus.webp", "a teapot", 8_375_123_456_789_012_345),
    ] {
        assert_eq!((read(name).prompt(), read(name).seed()), (Some(prompt), Some(seed)), "{name}");
    }
    for name in ["comfyui_drawn.png", "midjourney.png", "diffusers.png"] {
        assert_eq!((read(name).prompt(), read(name).seed()), (None, None), "{name}");
    }
    assert_eq!(read("comfyui_drawn.png"), Provenance::Unread(vec!["workflow".into()]));
}
