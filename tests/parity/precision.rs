//! Half precision: the same computation, as far as its digits go.

use candle_core::{DType, Tensor};
use catbench::diffusion::{BaseModel, Compute, ModelFiles, Tape, UNetOptions};
use catbench::protocol::{DeviceName, FloatType, ModelSpec, TrainConfig};

use super::fixture::{MODELS, Reference, base_model, folder, relative_error};
use super::training::{numbers_of, trainer};

/// A half precision, and how far results may be from float32's, relative to their size.
struct Half {
    device: DeviceName,
    dtype: FloatType,
    gradient: f64,
    latents: f64,
    picture: f64,
    sampled: f64,
}

/// The half precision that the CPU can multiply; with the feature `cuda` both, on the first card.
fn halves() -> Vec<Half> {
    let f16 = Half {
        device: DeviceName::Cpu,
        dtype: FloatType::F16,
        gradient: 1e-2,
        latents: 5e-3,
        picture: 5e-3,
        sampled: 1e-2,
    };
    if cfg!(feature = "cuda") {
        let device = DeviceName::Cuda(0);
        // It has three binary digits less.
        let bf16 = Half {
            device,
            dtype: FloatType::Bf16,
            gradient: 8.0 * f16.gradient,
            latents: 8.0 * f16.latents,
            picture: 8.0 * f16.picture,
            sampled: 8.0 * f16.sampled,
        };
        return vec![Half { device, ..f16 }, bf16];
    }
    vec![f16]
}

impl Half {
    fn model(&self, name: &str) -> BaseModel {
        let compute = Compute::open(self.device, self.dtype).unwrap();
        let files = ModelFiles::open(&ModelSpec::at(&folder(name))).unwrap();
        BaseModel::from_files(&files, "hash".into(), &compute).unwrap()
    }
}

#[test]
fn half_precision_gives_the_same_to_its_last_digits() {
    for (half, name) in halves().iter().flat_map(|half| MODELS.map(|name| (half, name))) {
        let model = half.model(name);
        let reference = Reference::load(name).on(&model);
        let check = |what: &str, got: &Tensor, want: &str, allowed: f64| {
            assert_eq!(got.dtype(), DType::F32, "{name} {what}");
            let error = relative_error(got, &reference.get(want));
            println!("{} {what}: {error:.1e} (allowed {allowed:.0e})", reference.name);
            // Nearer than float32's own error would mean that nothing was computed in half precision.
            assert!((1e-5..allowed).contains(&error), "{} {what}: {error:.1e}", reference.name);
        };
        let text = model.texts[0].encoder.forward(&reference.ids("text.ids"), None).unwrap();
        assert_eq!(text.value().dtype(), model.compute.dtype());

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
                check("gradient", &gradient, &format!("grad.n1_b0.{kv}.{layer}"), half.gradient);
            }
        }
        let pixels = reference.get("vae.pixels").clamp(-1f32, 1f32).unwrap();
        check("latents", &model.vae.encoder().unwrap().encode(&pixels).unwrap().0, "vae.mean", half.latents);
        check(
            "picture",
            &model.vae.decoder().unwrap().decode(&reference.get("vae.latents")).unwrap(),
            "vae.decoded",
            half.picture,
        );
        check("guided sampling", &reference.guided_latents(&model, "steps"), "ddim.final_latents", half.sampled);
    }
}

#[test]
fn training_in_half_precision_follows_training_in_full() {
    let config = || TrainConfig { batch_size: 2, learning_rate: 0.01, masked_loss: true, ..TrainConfig::default() };
    for (half, name) in halves().iter().flat_map(|half| MODELS.map(|name| (half, name))) {
        let (full, half) = (base_model(&folder(name)), half.model(name));
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
