//! Half precision: the same computation, as far as its digits go.

use candle_core::{DType, Tensor};
use catbench::diffusion::{BaseModel, Compute, ModelFiles, Tape, UNetOptions};
use catbench::protocol::{DeviceName, FloatType, ModelSpec, TrainConfig};

use super::fixture::{MODELS, Reference, folder, relative_error};
use super::training::{numbers_of, trainer};

/// In f16, the half precision that the CPU can multiply.
fn in_half(name: &str) -> BaseModel {
    let compute = Compute::open(DeviceName::Cpu, FloatType::F16).unwrap();
    BaseModel::from_files(&ModelFiles::open(&ModelSpec::at(&folder(name))).unwrap(), "hash".into(), &compute).unwrap()
}

#[test]
fn half_precision_gives_the_same_to_its_last_digits() {
    for name in MODELS {
        let (reference, model) = (Reference::load(name), in_half(name));
        let check = |what: &str, got: &Tensor, want: &str, allowed: f64| {
            assert_eq!(got.dtype(), DType::F32, "{name} {what}");
            let error = relative_error(got, &reference.get(want));
            println!("{name} {what} in f16: {error:.1e}");
            // Nearer than float32's own error would mean that nothing was computed in half precision.
            assert!((1e-5..allowed).contains(&error), "{name} {what} in f16: {error:.1e}");
        };
        let text = model.texts[0].encoder.forward(&reference.ids("text.ids"), None).unwrap();
        assert_eq!(text.value().dtype(), DType::F16);

        let tape = Tape::default();
        let mut prefix = reference.prefix(1, 0.0);
        for rows in &mut prefix.rows {
            rows.key = tape.leaf(rows.key.value().clone());
            rows.value = tape.leaf(rows.value.value().clone());
        }
        let context = model.texts[0].encoder.forward(&reference.ids("text.ids"), Some(&prefix)).unwrap();
        let timesteps = reference.timesteps("unet.timesteps");
        let latents = reference.get("grad.latents");
        let noise_pred = model.unet.forward(&latents, &timesteps, &context.into(), UNetOptions::default()).unwrap();
        let distance = (noise_pred.value() - reference.get("grad.target")).unwrap();
        // As in training: the gradient on its way is large enough for f16.
        let scale = model.compute.gradient_scale(distance.elem_count());
        let slope = distance.affine(2.0 * scale / distance.elem_count() as f64, 0.0).unwrap();
        let mut gradients = tape.backward(&noise_pred, slope).unwrap();
        for (layer, rows) in reference.layers().into_iter().zip(&prefix.rows) {
            for (kv, leaf) in [("k", &rows.key), ("v", &rows.value)] {
                let gradient = gradients.take(leaf).unwrap().affine(1.0 / scale, 0.0).unwrap();
                check("gradient", &gradient, &format!("grad.n1_b0.{kv}.{layer}"), 3e-2);
            }
        }
        let pixels = reference.get("vae.pixels").clamp(-1f32, 1f32).unwrap();
        check("latents", &model.vae.encoder().unwrap().encode(&pixels).unwrap().0, "vae.mean", 1e-2);
        check(
            "picture",
            &model.vae.decoder().unwrap().decode(&reference.get("vae.latents")).unwrap(),
            "vae.decoded",
            1e-2,
        );
        check("guided sampling", &reference.guided_latents(&model, "steps"), "ddim.final_latents", 3e-2);
    }
}

#[test]
fn training_in_half_precision_follows_training_in_full() {
    let config = || TrainConfig { batch_size: 2, learning_rate: 0.01, masked_loss: true, ..TrainConfig::default() };
    for name in MODELS {
        let (full, half) = (BaseModel::load(&folder(name)).unwrap(), in_half(name));
        let (mut full, mut half) = (trainer(&full, config()), trainer(&half, config()));
        let start = numbers_of(&full);
        for _ in 0..5 {
            let (full, half) = (full.step().unwrap().loss, half.step().unwrap().loss);
            assert!((full / half - 1.0).abs() < 1e-2, "{name}: loss {full} in f32, {half} in f16");
        }
        let (full, half) = (numbers_of(&full), numbers_of(&half));
        let moved = relative_error(&full, &start);
        let apart = relative_error(&half, &full);
        assert!(apart < moved / 3.0, "{name}: {apart} apart after moving {moved}");
    }
}
