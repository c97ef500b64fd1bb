//! Matrix product on strided slices, by the `gemm` crate.
#![allow(unsafe_code)]

use gemm::Parallelism;

use super::{for_rows, simd};

/// A strided view of a matrix: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same numbers, transposed.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn span(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride + 1
    }
}

/// `dst = alpha · a · b`, or `dst += alpha · a · b` with `accumulate`. `dst` is row-major, its rows `dst_stride` apart.
/// With `parallel` the product itself is spread over the threads; without it the caller already is one of them.
///
/// # Panics
/// When the shapes do not fit the slices: a bug of the caller.
pub(crate) fn gemm(
    dst: &mut [f32],
    dst_stride: usize,
    accumulate: bool,
    a: Mat<'_>,
    b: Mat<'_>,
    alpha: f32,
    parallel: bool,
) {
    let (m, n) = (a.rows, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= dst_stride && (m - 1) * dst_stride + n <= dst.len(), "gemm: dst too small");
    // SAFETY: by the assert the m rows of n numbers lie inside `dst` and do not overlap; `dst` is borrowed mutably, so it
    // overlaps neither operand.
    unsafe { multiply(dst.as_mut_ptr(), dst_stride, accumulate, a, b, alpha, parallel) }
}

/// `a · b`, row-major, made in memory that nobody has cleared before.
///
/// # Panics
/// When the shapes do not fit: a bug of the caller.
pub(crate) fn product(a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let len = a.rows * b.cols;
    if a.cols == 0 {
        return vec![0f32; len];
    }
    let mut y = Vec::with_capacity(len);
    // SAFETY: the capacity holds the a.rows rows of b.cols numbers without gaps; without `accumulate` the product writes
    // each of them and reads none, so all are initialized when the length is set.
    unsafe {
        multiply(y.as_mut_ptr(), b.cols, false, a, b, 1.0, true);
        y.set_len(len);
    }
    y
}

/// # Safety
/// `dst` is valid for writes (with `accumulate` also for reads) of `a.rows` rows of `b.cols` numbers that start
/// `dst_stride` >= `b.cols` apart, and overlaps neither operand.
unsafe fn multiply(
    dst: *mut f32,
    dst_stride: usize,
    accumulate: bool,
    a: Mat<'_>,
    b: Mat<'_>,
    alpha: f32,
    parallel: bool,
) {
    assert_eq!(a.cols, b.rows, "gemm: inner sizes differ");
    assert!(a.span() <= a.data.len() && b.span() <= b.data.len(), "gemm: operand too small");
    let parallelism = if parallel { Parallelism::Rayon(rayon::current_num_threads()) } else { Parallelism::None };
    // SAFETY: the asserts bound every address that the strides reach inside the operands; the caller vouches for `dst`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst,
            1,
            dst_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Up to this many rows, a product with a large weight is limited by how the weight is read.
const FEW_ROWS: usize = 512;
/// Numbers in a weight that is large.
const LARGE: usize = 1 << 18;

/// `y = x · wᵀ`, or `y += x · wᵀ` with `accumulate`: `x` [rows, inner], a weight [out, inner] as linear maps store it, and
/// `y` [rows, out] without gaps.
///
/// With few rows the product is made transposed: the weight is then read once, along its rows, instead of being copied
/// into the order the product wants, which takes as long as the product itself.
pub(crate) fn multiply_by_weight(y: &mut [f32], accumulate: bool, x: Mat<'_>, weight: &[f32], out: usize) {
    let rows = x.rows;
    let weight = Mat::new(weight, out, x.cols);
    if !reads_along_weight(rows, weight) {
        return gemm(y, out, accumulate, x, weight.t(), 1.0, true);
    }
    let transposed = product(weight, x.t());
    for_rows(y, out, |first, y| {
        for (i, y) in y.chunks_exact_mut(out).enumerate() {
            let column = transposed[first + i..].iter().step_by(rows);
            if accumulate {
                y.iter_mut().zip(column).for_each(|(y, &sum)| *y += sum);
            } else {
                y.iter_mut().zip(column).for_each(|(y, &sum)| *y = sum);
            }
        }
    });
}

/// Whether [`multiply_by_weight`] makes the product transposed.
fn reads_along_weight(rows: usize, weight: Mat<'_>) -> bool {
    rows <= FEW_ROWS && weight.rows * weight.cols >= LARGE
}

/// x · wᵀ + bias + residual: `x` [rows, inner], a weight [out, inner], `bias` `[out]`, `residual` like the result
/// [rows, out].
pub(crate) fn linear_forward(
    x: Mat<'_>,
    weight: &[f32],
    out: usize,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
) -> Vec<f32> {
    let weight = Mat::new(weight, out, x.cols);
    let mut y = if reads_along_weight(x.rows, weight) {
        let mut y = vec![0f32; x.rows * out];
        multiply_by_weight(&mut y, false, x, weight.data, out);
        y
    } else {
        product(x, weight.t())
    };
    if bias.is_some() || residual.is_some() {
        for_rows(&mut y, out, |first, y| {
            simd(
                #[inline(always)]
                || {
                    if let Some(residual) = residual {
                        y.iter_mut().zip(&residual[first * out..]).for_each(|(y, r)| *y += r);
                    }
                    if let Some(bias) = bias {
                        for y in y.chunks_exact_mut(out) {
                            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                        }
                    }
                },
            );
        });
    }
    y
}
