//! Normal numbers bit for bit as PyTorch draws them on a CPU: `torch.randn` with `torch.Generator("cpu").manual_seed(seed)`.
//!
//! A Mersenne twister (Matsumoto and Nishimura 1998) gives uniform numbers, and Box and Muller's transform (1958) makes
//! pairs of them normal: 16 numbers at a time in float32, with the logarithm, sine and cosine of Moshier's Cephes as
//! PyTorch's AVX2 code evaluates them (fused multiply-adds included), or fewer than 16 one by one in float64.

use candle_core::{Device, Result, Tensor};
use rand_mt::Mt;

/// Numbers that are transformed together; the first half are radii, the second angles.
const BLOCK: usize = 16;

/// `torch.Generator("cpu")`.
pub struct TorchGenerator {
    twister: Mt,
    /// The other number of the last pair, of those drawn one by one.
    next: Option<f64>,
}

impl TorchGenerator {
    /// `manual_seed(seed)`; PyTorch uses its lower 32 bits.
    pub fn new(seed: u64) -> Self {
        Self { twister: Mt::new(seed as u32), next: None }
    }

    /// `torch.randn(shape, generator=self)` in float32.
    pub fn normal(&mut self, shape: &[usize]) -> Result<Tensor> {
        Tensor::from_vec(self.draw(shape.iter().product()), shape, &Device::Cpu)
    }

    fn draw(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.single() as f32).collect();
        }
        let mut numbers: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        numbers.chunks_exact_mut(BLOCK).for_each(transform);
        if !count.is_multiple_of(BLOCK) {
            // PyTorch draws the last 16 again, those that are normal already included.
            let tail = &mut numbers[count - BLOCK..];
            tail.iter_mut().for_each(|x| *x = self.uniform());
            transform(tail);
        }
        numbers
    }

    /// Uniform in [0, 1), 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.twister.next_u32() & 0xff_ffff) as f32 / (1 << 24) as f32
    }

    /// Uniform in [0, 1), 53 bits.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.twister.next_u32());
        let low = u64::from(self.twister.next_u32());
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    fn single(&mut self) -> f64 {
        if let Some(next) = self.next.take() {
            return next;
        }
        let (turn, distance) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-distance).ln_1p()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * turn;
        self.next = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// 16 uniform numbers to 16 normal ones.
fn transform(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * ln(1.0 - *first)).sqrt();
        let (sin, cos) = sin_cos(std::f32::consts::TAU * *second);
        *first = radius * cos;
        *second = radius * sin;
    }
}

/// c₀ xⁿ + c₁ xⁿ⁻¹ + .., by Horner's scheme.
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().fold(0.0, |sum: f32, &c| sum.mul_add(x, c))
}

/// The natural logarithm of a normal number above 0 (Cephes' `logf`).
#[allow(clippy::excessive_precision)]
fn ln(x: f32) -> f32 {
    const LOG: [f32; 9] = [
        7.037_683_629_2e-2,
        -1.151_461_031_0e-1,
        1.167_699_874_0e-1,
        -1.242_014_084_6e-1,
        1.424_932_278_7e-1,
        -1.666_805_766_5e-1,
        2.000_071_476_5e-1,
        -2.499_999_399_3e-1,
        3.333_333_117_4e-1,
    ];
    // ln 2 in two parts.
    const LN_2: [f32; 2] = [-2.121_944_40e-4, 0.693_359_375];
    let bits = x.to_bits();
    let mut exponent = ((bits >> 23) as i32 - 126) as f32;
    let mut x = f32::from_bits((bits & 0x807f_ffff) | 0.5f32.to_bits());
    if x < std::f32::consts::FRAC_1_SQRT_2 {
        exponent -= 1.0;
        x += x - 1.0;
    } else {
        x -= 1.0;
    }
    let square = x * x;
    let cubic = polynomial(x, &LOG) * x;
    let correction = cubic.mul_add(square, exponent * LN_2[0]);
    let correction = square.mul_add(-0.5, correction);
    exponent.mul_add(LN_2[1], x + correction)
}

/// Sine and cosine of an angle in 0..2π (Cephes' `sinf` and `cosf`).
#[allow(clippy::excessive_precision)]
fn sin_cos(angle: f32) -> (f32, f32) {
    // π/4 in three parts.
    const PI_4: [f32; 3] = [-0.785_156_25, -2.418_756_484_985_351_562_5e-4, -3.774_894_977_445_941_08e-8];
    const SIN: [f32; 3] = [-1.951_529_589_1e-4, 8.332_160_873_6e-3, -1.666_665_461_1e-1];
    const COS: [f32; 3] = [2.443_315_711_809_948e-5, -1.388_731_625_493_765e-3, 4.166_664_568_298_827e-2];
    let octant = ((angle * 1.273_239_544_735_16) as u32 + 1) & !1;
    let x = PI_4.iter().fold(angle, |x, &part| (octant as f32).mul_add(part, x));
    let square = x * x;
    let even = (polynomial(square, &COS) * square).mul_add(square, -(square * 0.5)) + 1.0;
    let odd = (polynomial(square, &SIN) * square).mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (odd, even) } else { (even, odd) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if octant.wrapping_sub(2) & 4 == 0 { -cos } else { cos };
    (sin, cos)
}
