//! Candle's CUDA device, operation by operation, against its CPU: what Catbench computes with on a graphics card. Run on a card, or on
//! the software device.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// How far results may be apart, relative to 1 and their size.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 2e-6,
        DType::F16 => 4e-3,
        _ => 3e-2,
    }
}

fn card() -> Device {
    Device::new_cuda(0).expect("a CUDA device: a card, or the software device on LD_LIBRARY_PATH")
}

/// Numbers that look random, from -1 to 1.
fn random(shape: &[usize], seed: usize) -> Tensor {
    let numbers: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| (((i + 1) * (2 * seed + 7919)) as f32 * 0.618_034).sin()).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Compute the same on the CPU in float32 and on the card in every type, from the same numbers.
fn same(what: &str, inputs: &[&Tensor], compute: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let card = card();
    for dtype in TYPES {
        let rounded: Vec<_> = inputs.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        let wide: Vec<_> = rounded.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
        let there: Vec<_> = rounded.iter().map(|x| x.to_device(&card).unwrap()).collect();
        let want = compute(&wide).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let got = compute(&there).unwrap_or_else(|error| panic!("{what} in {dtype:?}: {error}"));
        let got = got.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), want.len(), "{what} in {dtype:?}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let apart = (got - want).abs() / (1.0 + want.abs());
            assert!(apart <= tolerance(dtype), "{what} in {dtype:?}, number {i}: {got} instead of {want}");
        }
    }
}

#[test]
fn numbers_go_to_the_card_and_back() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16, DType::U32, DType::U8, DType::I64] {
        let x = random(&[5, 7], 1).affine(100.0, 100.0).unwrap().to_dtype(dtype).unwrap();
        let back = x.to_device(&card()).unwrap().to_device(&Device::Cpu).unwrap();
        let differ = x.ne(&back).unwrap().sum_all().unwrap().to_scalar::<u8>().unwrap();
        assert_eq!(differ, 0, "{dtype:?}");
    }
}

#[test]
fn elementwise_operations() {
    let (a, b) = (random(&[6, 33], 1), random(&[6, 33], 2));
    same("affine", &[&a], |x| x[0].affine(3.0, -0.5));
    same("sum", &[&a, &b], |x| &x[0] + &x[1]);
    same("product of views", &[&a, &b], |x| x[0].t()? * x[1].t()?);
    same("broadcast", &[&a, &random(&[1, 33], 3)], |x| x[0].broadcast_mul(&x[1]));
    same("silu", &[&a], |x| x[0].silu());
    same("gelu", &[&a], |x| x[0].gelu_erf());
    same("sigmoid", &[&a], |x| sigmoid(&x[0]));
    same("root", &[&a.sqr().unwrap()], |x| x[0].affine(1.0, 0.1)?.sqrt()?.recip());
    same("powf", &[&a.abs().unwrap()], |x| x[0].powf(1.7));
    same("clamp", &[&a], |x| x[0].clamp(-0.3, 0.4));
    same("choice", &[&a, &b], |x| x[0].ge(&x[1])?.where_cond(&x[0], &x[1]));
}

#[test]
fn products_of_matrices() {
    for (batch, m, k, n) in [(1, 1, 5, 1), (1, 17, 40, 23), (3, 8, 64, 9), (2, 33, 1, 2)] {
        let (a, b) = (random(&[batch, m, k], 1), random(&[batch, k, n], 2));
        // As numbers get larger with k, so do their errors in 16 bits.
        let scale = 1.0 / (k as f64).sqrt();
        same("matmul", &[&a, &b], |x| x[0].matmul(&x[1])?.affine(scale, 0.0));
        same("matmul of transposed", &[&a, &b], |x| {
            let (a, b) = (x[0].transpose(1, 2)?.contiguous()?, x[1].transpose(1, 2)?.contiguous()?);
            a.transpose(1, 2)?.matmul(&b.transpose(1, 2)?)?.affine(scale, 0.0)
        });
    }
}

#[test]
fn pictures() {
    let x = random(&[2, 3, 9, 8], 1);
    for (kernel, padding, stride) in [(3, 1, 1), (3, 1, 2), (1, 0, 1), (3, 0, 2)] {
        let weight = random(&[5, 3, kernel, kernel], 2).affine(0.3, 0.0).unwrap();
        same("conv2d", &[&x, &weight], |x| x[0].conv2d(&x[1], padding, stride, 1, 1));
    }
    same("upsampling", &[&x], |x| x[0].upsample_nearest2d(18, 16));
    same("pooling", &[&random(&[2, 3, 8, 6], 3)], |x| x[0].avg_pool2d(2));
    same("zeros around", &[&x], |x| x[0].pad_with_zeros(2, 1, 2)?.pad_with_zeros(3, 0, 1));
    same("channels last", &[&x], |x| x[0].permute((0, 2, 3, 1))?.contiguous());
    same("concatenation", &[&x, &random(&[2, 4, 9, 8], 4)], |x| Tensor::cat(&[&x[0], &x[1]], 1));
    same("a part", &[&x], |x| x[0].narrow(2, 3, 4)?.i((.., 1..3))?.contiguous());
}

#[test]
fn reductions() {
    for width in [7, 33, 257, 1500] {
        let x = random(&[4, width], 1);
        let scale = 1.0 / width as f64;
        same("mean", &[&x], |x| x[0].sum_keepdim(D::Minus1)?.affine(scale, 0.0));
        same("mean of columns", &[&x], |x| x[0].sum_keepdim(0));
        same("largest", &[&x], |x| x[0].max(D::Minus1));
        same("softmax", &[&x], |x| softmax_last_dim(&x[0]));
        same("all", &[&x.affine(0.1, 0.0).unwrap()], |x| x[0].sqr()?.mean_all());
    }
    let x = random(&[4, 90], 2);
    let want = x.argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(x.to_device(&card()).unwrap().argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap(), want);
}

#[test]
fn indices() {
    let x = random(&[6, 10], 1);
    for device in [Device::Cpu, card()] {
        let order = Tensor::new(&[5u32, 0, 3, 3], &device).unwrap();
        let picked = x.to_device(&device).unwrap().index_select(&order, 0).unwrap();
        let want: Vec<_> = [5, 0, 3, 3].iter().map(|i| x.i(*i).unwrap().to_vec1::<f32>().unwrap()).collect();
        assert_eq!(picked.to_vec2::<f32>().unwrap(), want);
        let back = Tensor::zeros((6, 10), DType::F32, &device).unwrap().index_add(&order, &picked, 0).unwrap();
        let twice = x.i(3).unwrap().affine(2.0, 0.0).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(back.i(3).unwrap().to_vec1::<f32>().unwrap(), twice);
    }
}

#[test]
fn one_type_becomes_another() {
    let card = card();
    for from in TYPES {
        for to in TYPES {
            let x = random(&[5, 40], 1).to_dtype(from).unwrap();
            let want =
                x.to_dtype(to).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let got = x.to_device(&card).unwrap().to_dtype(to).unwrap().to_dtype(DType::F32).unwrap();
            assert_eq!(got.flatten_all().unwrap().to_vec1::<f32>().unwrap(), want, "{from:?} to {to:?}");
        }
    }
}

/// Some of candle's operations have nothing to do for a tensor of no numbers; others launch a grid of no blocks, which a card refuses.
#[test]
fn a_grid_of_no_blocks_is_refused() {
    let none = Tensor::zeros((0, 4), DType::F32, &card()).unwrap();
    assert_eq!(none.affine(2.0, 0.0).unwrap().elem_count(), 0);
    assert!(none.eq(&none).unwrap_err().to_string().contains("CUDA_ERROR_INVALID_VALUE"));
}
