//! Tokenizer, text encoder, UNet and VAE.

use candle_core::Tensor;
use catbench::diffusion::{Additions, PrefixLayer, Tracked, UNetOptions};

use super::fixture::{MODELS, Reference, TOLERANCE, base_model, folder, models, relative_error};

#[test]
fn the_tokenizer_gives_the_ids_of_transformers() {
    for name in MODELS {
        let (reference, model) = (Reference::load(name), base_model(&folder(name)));
        let mut wrong = Vec::new();
        for case in reference.json["tokenizer"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let want: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            let got = model.texts[0].tokenizer.tokens(text).unwrap().ids;
            if got != want {
                wrong.push(format!("{name} {text:?}:\n  {got:?}, not\n  {want:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn vocab_and_merges_give_the_ids_of_tokenizer_json() {
    let whole = folder("tiny_sd1/tokenizer");
    let part = tempfile::tempdir().unwrap();
    for file in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
        std::fs::copy(whole.join(file), part.path().join(file)).unwrap();
    }
    let [a, b] = [&whole, part.path()].map(|folder| catbench::diffusion::Tokenizer::load(folder, 16).unwrap());
    for case in Reference::load("tiny_sd1").json["tokenizer"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(a.tokens(text).unwrap(), b.tokens(text).unwrap(), "{text:?}");
    }
}

#[test]
fn the_text_encoder_agrees_without_and_with_a_prefix() {
    for (reference, model) in models() {
        let encoder = &model.texts[0].encoder;
        let ids = reference.ids("text.ids");
        let mut compare = reference.compare();
        compare.check("text.plain", encoder.forward(&ids, None).unwrap().value());
        for case in reference.json["prefix_cases"].as_array().unwrap() {
            let (n, case_name) = (case["n"].as_u64().unwrap() as usize, case["name"].as_str().unwrap());
            let bias = case["prefix_bias"].as_f64().unwrap() + case["strength"].as_f64().unwrap().ln();
            let prefix = reference.prefix(n, bias as f32);
            let whole = encoder.forward(&ids, Some(&prefix)).unwrap();
            compare.check(&format!("text.{case_name}"), whole.value());

            // From what enters the first concatenated layer: the same numbers.
            let begun = encoder.begin(&ids, &prefix).unwrap();
            let rest = encoder.finish(&begun, &prefix).unwrap();
            assert_eq!(
                relative_error(rest.value(), whole.value()),
                0.0,
                "{} {case_name} from the cache",
                reference.name
            );
        }
    }
}

#[test]
fn strength_zero_is_the_base_model() {
    for (reference, model) in models() {
        let ids = reference.ids("text.ids");
        let prefix = reference.prefix(3, 1.0 + 0f32.ln());
        let off = model.texts[0].encoder.forward(&ids, Some(&prefix)).unwrap();
        assert!(relative_error(off.value(), &reference.get("text.plain")) <= TOLERANCE);
    }
}

#[test]
fn concepts_side_by_side_are_rows_side_by_side() {
    for (reference, model) in models() {
        let ids = reference.ids("text.ids");
        let whole = reference.prefix(3, 0.5);
        let part = |first: usize, rows: usize| {
            let narrow = move |x: &Tracked| x.value().narrow(0, first, rows).unwrap().contiguous().unwrap().into();
            let layers = whole.rows.iter();
            layers.map(move |l| PrefixLayer { key: narrow(&l.key), value: narrow(&l.value), ..l.clone() })
        };
        let encode = |prefix: &Additions| model.texts[0].encoder.forward(&ids, Some(prefix)).unwrap();
        let parts = Additions { rows: part(0, 1).chain(part(1, 2)).collect(), words: Vec::new() };
        assert_eq!(relative_error(encode(&parts).value(), encode(&whole).value()), 0.0, "{}", reference.name);

        // Each with a strength of its own: one of none leaves the other as if it stood alone.
        let off = part(0, 1).map(|rows| PrefixLayer { bias: f32::NEG_INFINITY, ..rows });
        let one = Additions { rows: off.chain(part(1, 2)).collect(), words: Vec::new() };
        let alone = Additions { rows: part(1, 2).collect(), words: Vec::new() };
        assert!(relative_error(encode(&one).value(), encode(&alone).value()) <= 1e-6, "{}", reference.name);
        assert!(relative_error(encode(&one).value(), encode(&parts).value()) > 1e-3, "{}", reference.name);
    }
}

#[test]
fn the_unet_agrees_with_a_timestep_a_sample() {
    for (reference, model) in models() {
        let forward = |latents: &Tensor, timesteps: &[u32], context: Tensor| {
            model.unet.forward(latents, timesteps, &context.into(), UNetOptions::default())
        };
        let (latents, context) = (reference.get("unet.latents"), reference.get("unet.context"));
        let timesteps = reference.timesteps("unet.timesteps");
        let both = forward(&latents, &timesteps, context.clone()).unwrap();
        reference.compare().check("unet.out", both.value());

        let second = forward(
            &latents.narrow(0, 1, 1).unwrap().contiguous().unwrap(),
            &timesteps[1..],
            context.narrow(0, 1, 1).unwrap().contiguous().unwrap(),
        );
        let second_of_both = both.value().narrow(0, 1, 1).unwrap();
        assert!(relative_error(second.unwrap().value(), &second_of_both) <= TOLERANCE, "{}: the batch", reference.name);

        let odd = Tensor::zeros((2, 4, 9, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let error = forward(&odd, &timesteps, context).err().expect("latents that cannot be halved are refused");
        assert!(error.to_string().contains("multiple"), "{error}");
    }
}

#[test]
fn the_vae_agrees_both_ways() {
    for (reference, model) in models() {
        let pixels = reference.get("vae.pixels").clamp(-1f32, 1f32).unwrap();
        let (mean, std) = model.vae.encoder().unwrap().encode(&pixels).unwrap();
        let mut compare = reference.compare();
        compare.check("vae.mean", &mean);
        compare.check("vae.std", &std);
        compare.check("vae.decoded", &model.vae.decoder().unwrap().decode(&reference.get("vae.latents")).unwrap());
        let scaled = model.vae.scale(&mean).unwrap();
        let factor = reference.json["scaling_factor"].as_f64().unwrap();
        assert!(relative_error(&scaled, &mean.affine(factor, 0.0).unwrap()) <= 1e-7);
        assert!(relative_error(&model.vae.unscale(&scaled).unwrap(), &mean) <= 1e-6);
    }
}
