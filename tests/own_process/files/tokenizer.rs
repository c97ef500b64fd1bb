//! CLIP's own tokenizer, built in, held to transformers' fast one (`tests/parity/original_files.py`).

use catbench::diffusion::Tokenizer;

use super::fixture;

#[test]
fn the_built_in_tokenizer_gives_the_ids_of_transformers_for_both_families() {
    let text = std::fs::read_to_string(fixture("original/tokenizer.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 40);
    let mut wrong = Vec::new();
    for (family, pad, pad_id) in [("sd1", "<|endoftext|>", 49407), ("sd2", "!", 0)] {
        let tokenizer = Tokenizer::built_in(pad, 77).unwrap();
        assert_eq!(tokenizer.vocab_size(), 49408);
        for case in &cases {
            let text = case["text"].as_str().unwrap();
            let mut want: Vec<u32> = serde_json::from_value(case[family].clone()).unwrap();
            // The fixture leaves the padding out but for its first token.
            want.resize(77, pad_id);
            let got = tokenizer.tokens(text).unwrap().ids;
            if got != want {
                wrong.push(format!("{family} {text:?}:\n  {got:?}, not\n  {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_beyond_the_limit_is_told() {
    let tokenizer = Tokenizer::built_in("!", 77).unwrap();
    let prompt = format!("{}teapot on grass", "a ".repeat(75));
    assert_eq!(tokenizer.tokens(&prompt).unwrap().cut, "teapot on grass");
    assert_eq!(tokenizer.tokens("a teapot").unwrap().cut, "");
}
