//! Elementary functions that vectorize, and reductions with a fixed order.

/// Partial results of a reduction: one AVX-512 register wide.
const LANES: usize = 16;

/// e^x to 1e-7 relative, saturating instead of overflowing: Cody-Waite reduction by ln 2 and a degree-6 polynomial.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding and subtracting it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5e-1);
    let p = (p * r).mul_add(r, r) + 1.0;
    // The low bits of `shifted` hold n: moved into the exponent they are 2^n.
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// erf(x) to 2e-7 absolute: a rational minimax approximation on [-4, 4], constant outside.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let p = -2.726_142_3e-10_f32;
    let p = p.mul_add(s, 2.770_681_4e-8);
    let p = p.mul_add(s, -2.101_024e-6);
    let p = p.mul_add(s, -5.692_506_4e-5);
    let p = p.mul_add(s, -7.349_906e-4);
    let p = p.mul_add(s, -2.954_6e-3);
    let p = p.mul_add(s, -1.609_603_3e-2);
    let q = -1.456_607_2e-5_f32;
    let q = q.mul_add(s, -2.133_740_5e-4);
    let q = q.mul_add(s, -1.682_827e-3);
    let q = q.mul_add(s, -7.373_329_4e-3);
    let q = q.mul_add(s, -1.426_473_9e-2);
    x * p / q
}

/// Sum of `f(i)` for i in 0..n.
#[inline(always)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + l);
        }
        i += LANES;
    }
    let mut sum = lanes.iter().sum::<f32>();
    for i in whole..n {
        sum += f(i);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{erf, exp};

    #[test]
    fn exp_agrees_with_f64() {
        for i in -8600..8700 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 3e-7, "exp({x})");
        }
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    /// erf by its Maclaurin series in f64: exact to 1e-12 for |x| <= 4.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn erf_agrees_with_its_series() {
        for i in -400..=400 {
            let x = i as f32 / 100.0;
            assert!((f64::from(erf(x)) - erf_series(f64::from(x))).abs() < 3e-7, "erf({x}) = {}", erf(x));
        }
        assert!((erf(9.0) - 1.0).abs() < 2e-7);
    }
}
