//! The CPU kernels behind [`super::ops`]: float32, on plain slices, channels last.
//!
//! Each kernel is written so that the compiler vectorizes it; [`simd`] runs it with the widest instructions the
//! processor has. Reductions keep 16 partial sums in a fixed order, so a result never depends on timing.

mod attention;
mod conv;
mod gemm;
mod math;
mod norm;
mod pointwise;

pub(crate) use attention::{AttnMask, AttnShape, attention_backward, attention_forward};
pub(crate) use conv::{ConvShape, conv2d_backward, conv2d_forward};
pub(crate) use gemm::{Mat, gemm, linear_forward, product};
pub(crate) use norm::{NormShape, group_norm_backward, group_norm_forward, layer_norm_backward, layer_norm_forward};
pub(crate) use pointwise::{Activation, activate, activate_backward, add, geglu, geglu_backward};

use std::cell::Cell;
use std::sync::LazyLock;

use rayon::prelude::*;

/// Below this many numbers a second thread costs more than it saves.
const PARALLEL_MIN: usize = 1 << 15;

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Run `f` compiled for the widest vector instructions of this processor.
#[inline]
pub(crate) fn simd<R>(f: impl FnOnce() -> R) -> R {
    ARCH.dispatch(f)
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lend `f` some memory of this thread, with whatever is in it. It is kept: clearing it anew for each of a model's
/// convolutions would cost more than a hundredth of their time.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Whoever asks again inside `f` finds nothing here and gets other memory.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch = vec![0f32; len];
    }
    let result = f(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

/// Split `out` into runs of whole rows, one or more a thread, and call `f(first_row, rows)` on each.
pub(crate) fn for_rows(out: &mut [f32], row_len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = out.len() / row_len.max(1);
    if out.len() < PARALLEL_MIN || rows < 2 {
        return f(0, out);
    }
    let rows_each = rows.div_ceil(rayon::current_num_threads() * 2);
    out.par_chunks_mut(rows_each * row_len).enumerate().for_each(|(i, chunk)| f(i * rows_each, chunk));
}
