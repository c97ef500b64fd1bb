//! The gradient that training follows: through the UNet and the text encoder to every learned number.

use candle_core::{Device, Tensor};
use catbench::diffusion::{Additions, BaseModel, PrefixLayer, Tape, UNetOptions};

use super::fixture::{MODELS, Reference, base_model, folder, models, numbers, relative_error};

/// The loss of the fixture's gradient cases, and its gradient.
struct Case<'a> {
    reference: &'a Reference,
    model: &'a BaseModel,
    gradient_checkpointing: bool,
}

impl Case<'_> {
    /// Mean squared error in float64, its gradient by the prediction, and the prediction.
    fn loss(&self, prediction: &Tensor) -> (f64, Tensor) {
        let target = self.reference.get("grad.target");
        let distance = (prediction - &target).unwrap();
        let loss = numbers(&distance).iter().map(|x| x * x).sum::<f64>() / distance.elem_count() as f64;
        (loss, distance.affine(2.0 / distance.elem_count() as f64, 0.0).unwrap())
    }

    fn predict(&self, tape: &Tape, prefix: &Additions) -> catbench::diffusion::Tracked {
        let context = self.model.texts[0].encoder.forward(&self.reference.ids("text.ids"), Some(prefix)).unwrap();
        let timesteps = self.reference.timesteps("unet.timesteps");
        let gradient_checkpointing = self.gradient_checkpointing.then_some(tape);
        let options = UNetOptions { gradient_checkpointing, ..UNetOptions::default() };
        self.model.unet.forward(&self.reference.get("grad.latents"), &timesteps, &context.into(), options).unwrap()
    }

    /// The loss, and the gradients of keys and values a layer.
    fn gradients(&self, n: usize, bias: f32) -> (f64, Vec<[Tensor; 2]>) {
        let tape = Tape::default();
        let mut prefix = self.reference.prefix(n, bias);
        for rows in &mut prefix.rows {
            rows.key = tape.leaf(rows.key.value().clone());
            rows.value = tape.leaf(rows.value.value().clone());
        }
        let prediction = self.predict(&tape, &prefix);
        let (loss, slope) = self.loss(prediction.value());
        let mut gradients = tape.backward(&prediction, slope).unwrap();
        let of = |rows: &PrefixLayer| [&rows.key, &rows.value].map(|leaf| gradients.take(leaf).unwrap());
        (loss, prefix.rows.iter().map(of).collect())
    }
}

#[test]
fn the_gradient_agrees_for_both_biases_and_with_checkpointing() {
    for (reference, model) in models() {
        let mut compare = reference.compare();
        for case in reference.json["gradient_cases"].as_array().unwrap() {
            let (n, case_name) = (case["n"].as_u64().unwrap() as usize, case["name"].as_str().unwrap());
            let bias = case["prefix_bias"].as_f64().unwrap() as f32;
            let of = |gradient_checkpointing| {
                Case { reference: &reference, model: &model, gradient_checkpointing }.gradients(n, bias)
            };
            let ((loss, gradients), (_, recomputed)) = (of(false), of(true));
            compare.check(&format!("grad.{case_name}.loss"), &Tensor::new(&[loss], &Device::Cpu).unwrap());
            for ((layer, [k, v]), [again_k, again_v]) in reference.layers().into_iter().zip(&gradients).zip(&recomputed)
            {
                compare.check(&format!("grad.{case_name}.k.{layer}"), k);
                compare.check(&format!("grad.{case_name}.v.{layer}"), v);
                // Recomputed layer by layer, the contributions to the text's gradient add up in another order.
                for (again, once) in [(again_k, k), (again_v, v)] {
                    let error = relative_error(again, once);
                    let name = &reference.name;
                    assert!(error <= 1e-6, "{name} layer {layer}: checkpointing changes the gradient by {error:e}");
                }
            }
        }
    }
}

#[test]
fn every_learned_number_gets_a_gradient() {
    for (reference, model) in models() {
        for (n, bias) in [(1, 0.0), (3, 1.0)] {
            let case = Case { reference: &reference, model: &model, gradient_checkpointing: false };
            for (layer, [k, v]) in reference.layers().into_iter().zip(case.gradients(n, bias).1) {
                assert_eq!(k.dims(), [n, model.texts[0].encoder.hidden_size()]);
                let zeros = numbers(&k).into_iter().chain(numbers(&v)).filter(|&g| g == 0.0).count();
                assert_eq!(zeros, 0, "{} layer {layer} n {n}: learned numbers without a gradient", reference.name);
            }
        }
    }
}

/// Central differences need no knowledge of the backward pass. The forward pass is float32, so one difference with a small
/// step would be mostly rounding: the loss is summed in float64, the steps are large, and the odd part of the loss around
/// the point is fitted by h, h³, h⁵ and h⁷ over many steps (least squares), which averages rounding away and keeps
/// curvature out of the slope. 20 coordinates in all, 10 a model.
#[test]
fn finite_differences_agree_on_random_coordinates() {
    const STEPS: usize = 12;
    const REACH: f64 = 2.0;
    for name in MODELS {
        let model = base_model(&folder(name));
        let reference = Reference::load(name).on(&model);
        let case = Case { reference: &reference, model: &model, gradient_checkpointing: false };
        let (n, d) = (3, model.texts[0].encoder.hidden_size());
        let (_, gradients) = case.gradients(n, 1.0);
        let mut random = catbench::diffusion::Noise::new(20, catbench::diffusion::Stream::FixedNoise, 0);
        for _ in 0..10 {
            let (layer, key) = (random.below(gradients.len()), random.below(2) == 0);
            let (row, column) = (random.below(n), random.below(d));
            let exact = numbers(&gradients[layer][usize::from(!key)])[row * d + column];
            let loss_at = |h: f64| {
                let mut prefix = reference.prefix(n, 1.0);
                let rows = &mut prefix.rows[layer];
                let moved = if key { &mut rows.key } else { &mut rows.value };
                let mut values = numbers(moved.value());
                values[row * d + column] += h;
                let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
                *moved = Tensor::from_vec(values, (n, d), model.compute.device()).unwrap().into();
                let at = numbers(moved.value())[row * d + column];
                (at, case.loss(case.predict(&Tape::default(), &prefix).value()).0)
            };
            let odd_part: Vec<(f64, f64)> = (1..=STEPS)
                .map(|i| {
                    let h = REACH * i as f64 / STEPS as f64;
                    let ((up, above), (down, below)) = (loss_at(h), loss_at(-h));
                    ((up - down) / 2.0, (above - below) / 2.0)
                })
                .collect();
            let measured = slope_of_odd_polynomial(&odd_part);
            let error = (measured - exact).abs() / exact.abs();
            let what = if key { "key" } else { "value" };
            println!("{name} {what} {layer} [{row}, {column}]: {exact:.4e} {measured:.4e} {error:.1e}");
            assert!(
                error <= 1e-3,
                "{name} {what} of layer {layer} [{row}, {column}]: {exact:e}, measured {measured:e}"
            );
        }
    }
}

/// The coefficient of h in the least-squares fit of y by a h + b h³ + c h⁵ + d h⁷.
fn slope_of_odd_polynomial(points: &[(f64, f64)]) -> f64 {
    const TERMS: usize = 4;
    let scale = points.iter().map(|p| p.0.abs()).fold(0.0, f64::max);
    let mut system = [[0f64; TERMS + 1]; TERMS];
    for &(h, y) in points {
        let terms: [f64; TERMS] = std::array::from_fn(|i| (h / scale).powi(2 * i as i32 + 1));
        for (i, row) in system.iter_mut().enumerate() {
            for (j, cell) in row.iter_mut().enumerate() {
                *cell += terms[i] * terms.get(j).unwrap_or(&y);
            }
        }
    }
    for i in 0..TERMS {
        let pivot = system[i];
        for (k, row) in system.iter_mut().enumerate() {
            if k != i {
                let factor = row[i] / pivot[i];
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            }
        }
    }
    system[0][TERMS] / system[0][0] / scale
}
