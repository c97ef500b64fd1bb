//! Words that textual-inversion files add, against diffusers' `load_textual_inversion` (`adapters.py`).

use candle_core::Device;
use catbench::diffusion::{Embedding, Tokenizer};

use super::fixture::{TOLERANCE, base_model, folder, relative_error};

fn read(file: &str, token: Option<&str>) -> Embedding {
    Embedding::read(&folder("embeddings").join(file), token).unwrap()
}

#[test]
fn added_words_are_read_as_diffusers_reads_them() {
    let mut model = base_model(&folder("tiny_sd1"));
    for (file, token) in [("diffusers.bin", None), ("web_ui.pt", None), ("many.safetensors", Some("<many>"))] {
        model.add_word(&read(file, token)).unwrap();
    }
    let reference = folder("embeddings");
    let json = std::fs::read_to_string(reference.join("reference.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let tensors = candle_core::safetensors::load(reference.join("reference.safetensors"), &Device::Cpu).unwrap();
    for (i, prompt) in json["prompts"].as_array().unwrap().iter().enumerate() {
        let prompt = prompt.as_str().unwrap();
        let ids = model.texts[0].ids(prompt).unwrap();
        let expected: Vec<u32> = serde_json::from_value(json["ids"][i].clone()).unwrap();
        assert_eq!(ids.flatten_all().unwrap().to_vec1::<u32>().unwrap(), expected, "{prompt}");
        let hidden = model.texts[0].encoder.forward(&ids, None).unwrap().value().squeeze(0).unwrap();
        let expected = tensors["hidden"].get(i).unwrap();
        let error = relative_error(&hidden, &expected);
        assert!(error < TOLERANCE, "{prompt}: {error}");
    }
}

#[test]
fn every_form_gives_its_word_and_its_vectors() {
    for (file, token, count) in [
        ("diffusers.bin", "<cat-toy>", 1),
        ("diffusers.safetensors", "<cat-toy>", 1),
        ("web_ui.pt", "cat-word", 2),
        ("many.safetensors", "many", 5),
    ] {
        let embedding = read(file, None);
        assert_eq!((embedding.token.as_str(), embedding.count()), (token, count), "{file}");
        assert_eq!(read(file, Some("<other>")).token, "<other>");
    }
}

#[test]
fn a_word_of_several_vectors_takes_as_many_positions_and_is_cut_like_any_text() {
    let folder = folder("tiny_sd1/tokenizer");
    let mut tokenizer = Tokenizer::load(&folder, 16).unwrap();
    tokenizer.add_word("<many>", 544..549, &folder).unwrap();
    tokenizer.add_word("cat", 549..550, &folder).unwrap();
    assert_eq!(tokenizer.positions_of("a <many> teapot", "<many>").unwrap(), [2, 3, 4, 5, 6]);
    assert_eq!(tokenizer.positions_of("a <many> teapot", "teapot").unwrap()[0], 7);
    let tokens = tokenizer.tokens("<many> <many> <many> tail").unwrap();
    assert_eq!(tokens.ids.len(), 16);
    assert_eq!(tokens.cut, "<many> tail");
    // A plain word is not found within longer ones.
    assert!(tokenizer.tokens("a cat").unwrap().ids.contains(&549));
    assert!(!tokenizer.tokens("a category").unwrap().ids.contains(&549));
    // Neither a word of its own nor one that was added may be added, whatever its case.
    for taken in ["<many>", "<MANY>", "a"] {
        assert!(tokenizer.add_word(taken, 550..551, &folder).is_err(), "{taken}");
    }
}
