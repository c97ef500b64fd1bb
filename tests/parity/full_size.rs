//! Stable Diffusion 1.5 at full size against PyTorch, on what `full_size.py` made. Fails beyond the tests' own 1e-5.

#![allow(clippy::unwrap_used, dead_code)]

use std::path::PathBuf;

use candle_core::Tensor;
use catbench::diffusion::{BaseModel, Tape, UNetOptions};
use sha2::{Digest, Sha256};

mod fixture;
use fixture::Reference;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().expect("usage: full_size REFERENCE [MODEL]");
    let reference = Reference::open(&folder);
    // The same weights in another form may be named.
    let model = BaseModel::load(&arguments.next().unwrap_or(folder)).unwrap();
    let encoder = &model.texts[0].encoder;
    let ids = reference.ids("text.ids");
    let mut compare = reference.compare();
    let mut digest = Sha256::new();
    let mut check = |name: &str, got: &Tensor| {
        compare.check(name, got);
        let numbers: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        numbers.iter().for_each(|x| digest.update(x.to_le_bytes()));
    };

    check("text.plain", encoder.forward(&ids, None).unwrap().value());
    let prefix = reference.prefix(1, 0.0);
    let context = encoder.forward(&ids, Some(&prefix)).unwrap().value().clone();
    check("text.n1_b0", &context);

    let (mean, std) =
        model.vae.encoder().unwrap().encode(&reference.get("vae.pixels").clamp(-1f32, 1f32).unwrap()).unwrap();
    check("vae.mean", &mean);
    check("vae.std", &std);
    check("vae.decoded", &model.vae.decoder().unwrap().decode(&reference.get("vae.latents")).unwrap());

    for gradient_checkpointing in [false, true] {
        let tape = Tape::default();
        let mut prefix = reference.prefix(1, 0.0);
        for rows in &mut prefix.rows {
            rows.key = tape.leaf(rows.key.value().clone());
            rows.value = tape.leaf(rows.value.value().clone());
        }
        let context = encoder.forward(&ids, Some(&prefix)).unwrap();
        let options =
            UNetOptions { gradient_checkpointing: gradient_checkpointing.then_some(&tape), ..UNetOptions::default() };
        let timesteps = reference.timesteps("unet.timesteps");
        let noise_pred =
            model.unet.forward(&reference.get("grad.latents"), &timesteps, &context.into(), options).unwrap();
        check("unet.out", noise_pred.value());
        let distance = (noise_pred.value() - reference.get("grad.target")).unwrap();
        let slope = distance.affine(2.0 / distance.elem_count() as f64, 0.0).unwrap();
        let mut gradients = tape.backward(&noise_pred, slope).unwrap();
        for (layer, rows) in reference.layers().into_iter().zip(&prefix.rows) {
            check(&format!("grad.k.{layer}"), &gradients.take(&rows.key).unwrap());
            check(&format!("grad.v.{layer}"), &gradients.take(&rows.value).unwrap());
        }
    }

    check("ddim.final_latents", &reference.guided_latents(&model, "steps"));
    // Equal for equal weights, whatever files they are in.
    println!("sha256 of all results {:x}", digest.finalize());
}
