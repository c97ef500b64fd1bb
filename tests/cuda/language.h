// The CUDA language as C++: what candle's kernels need to be compiled by g++. It is included before a kernel's source.
//
// The half types come from CUDA's headers, which have versions for the host. What these lack for the host is defined here.
//
// With SOFT_ONE_LANE a kernel is compiled for a grid of one block of one thread, all constants: its loop over the grid then is a plain
// loop over all elements. Without it, the indices are variables: one kernel runs at a time.
#pragma once

#include <algorithm>
#include <cassert>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <math.h> // puts `isnan` and `signbit` where the kernels look for them

#include <cuda/std/limits>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <vector_functions.h>

// From here on the kernels are told that they are compiled for compute capability 8.0 by CUDA 13.0. The headers above were not: they
// would use the card's instructions.
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __forceinline__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
// Found, and replaced, in the output of the preprocessor.
#define __global__ SOFT_GLOBAL
#define __shared__ SOFT_SHARED

// An assertion of a kernel ends the program: on a card it makes every later call fail.
#undef assert
#define assert(x) ((x) ? (void)0 : soft_device_assertion(#x, __FILE__, __LINE__))
[[noreturn]] inline void soft_device_assertion(const char *text, const char *file, int line) {
    std::fprintf(stderr, "soft-cuda: a kernel's assertion failed: %s (%s:%d)\n", text, file, line);
    std::abort();
}

struct SoftIndex {
    unsigned int x, y, z;
};

#ifdef SOFT_ONE_LANE
static constexpr SoftIndex blockIdx{0, 0, 0}, threadIdx{0, 0, 0}, gridDim{1, 1, 1}, blockDim{1, 1, 1};
#else
static SoftIndex blockIdx, threadIdx, gridDim, blockDim;
#endif

// Mathematics that the C library has no name for.
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752440f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

// `min` and `max` of two types take the larger, as those of CUDA do.
template <class A, class B> constexpr auto min(A a, B b) -> decltype(a + b) {
    using C = decltype(a + b);
    return C(b) < C(a) ? C(b) : C(a);
}
template <class A, class B> constexpr auto max(A a, B b) -> decltype(a + b) {
    using C = decltype(a + b);
    return C(a) < C(b) ? C(b) : C(a);
}

inline unsigned int __float_as_uint(float x) { unsigned int y; std::memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, 4); return y; }
inline float __uint_as_float(unsigned int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline long long __double_as_longlong(double x) { long long y; std::memcpy(&y, &x, 8); return y; }
inline double __longlong_as_double(long long x) { double y; std::memcpy(&y, &x, 8); return y; }

// The threads of a kernel run one after the other, in order: so plain operations are atomic, and sums have one order.
template <class T, class V> T atomicAdd(T *address, V value) { T old = *address; *address = old + T(value); return old; }
template <class T, class V> T atomicMin(T *address, V value) { T old = *address; *address = T(value) < old ? T(value) : old; return old; }
template <class T, class V> T atomicMax(T *address, V value) { T old = *address; *address = old < T(value) ? T(value) : old; return old; }
template <class T, class C, class V> T atomicCAS(T *address, C compare, V value) {
    T old = *address;
    if (old == T(compare)) *address = T(value);
    return old;
}

// The half types' functions that CUDA's headers have for the card only. The card computes them in float and rounds once.
#define SOFT_HALF_FUNCTION(NAME, CALL)                                                                    \
    inline __half NAME(__half x) { return __float2half(CALL(__half2float(x))); }                          \
    inline __nv_bfloat16 NAME(__nv_bfloat16 x) { return __float2bfloat16(CALL(__bfloat162float(x))); }
SOFT_HALF_FUNCTION(hsqrt, sqrtf)
SOFT_HALF_FUNCTION(hsin, sinf)
SOFT_HALF_FUNCTION(hcos, cosf)
SOFT_HALF_FUNCTION(hlog, logf)
SOFT_HALF_FUNCTION(hexp, expf)
#undef SOFT_HALF_FUNCTION

// Barriers and warps, in a module that is launched with fibers (SOFT_FIBERS); another that uses them cannot be linked.
#ifdef SOFT_FIBERS
void soft_barrier();
// Give `bits` to the lanes of the warp; get those of the lane whose number differs by `mask`.
uint64_t soft_shuffle_xor(unsigned int lanes, uint64_t bits, int mask, int width);
inline void __syncthreads() { soft_barrier(); }
template <class T> T __shfl_xor_sync(unsigned int lanes, T value, int mask, int width = 32) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = soft_shuffle_xor(lanes, bits, mask, width);
    std::memcpy(static_cast<void *>(&value), &bits, sizeof(T));
    return value;
}
#else
void __syncthreads();
#endif

#include "launch.h"

// Closed by launchers.py. All headers that the kernels include were included above: so nothing but the kernels is in here. The same
// function is compiled in several ways, and must not be taken for one.
namespace {
