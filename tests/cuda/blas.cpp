// cuBLAS: the products of matrices that candle asks for, with the checks of the real library.
//
// All matrices are column-major. Numbers of 16 bits are widened to float. Every element of a result is the sum of its products in order
// of k, in parts of PART products, without fused multiply-add: so it does not depend on the processor or on the number of threads.
#include "device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <thread>
#include <unordered_set>
#include <vector>

using namespace soft;

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Operation { NORMAL = 0, TRANSPOSED = 1, CONJUGATE = 2 };
enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
enum Compute { BY_F16 = 64, BY_F32 = 68, BY_F32_PEDANTIC = 69, BY_F64 = 70, FAST_16F = 74, FAST_16BF = 75, FAST_TF32 = 77 };
enum PointerMode { HOST = 0, DEVICE = 1 };

struct Handle {
    CUstream stream;
    int pointer_mode;
};

std::unordered_set<const void *> &handles() {
    static auto *all = new std::unordered_set<const void *>;
    return *all;
}

std::size_t size_of(int type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }

template <class T> double widen(T x) { return x; }
template <> double widen(__half x) { return __half2float(x); }
template <> double widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T> T narrow(double x) { return T(x); }
template <> __half narrow(double x) { return __float2half(float(x)); }
template <> __nv_bfloat16 narrow(double x) { return __float2bfloat16(float(x)); }

// 32 bytes of numbers.
template <class S> struct Vector {
    typedef S Type __attribute__((vector_size(32)));
    static constexpr int LANES = 32 / sizeof(S);
};

constexpr long PART = 256; // products that are summed before they are added to the result

struct Matrix {
    const void *at;
    int type;
    bool transposed;
    long leading;
};

// Element (row, column) of op(matrix), for a run of rows or columns: copied to `to` as S, `step` apart.
template <class S, class T> void gather(const Matrix &m, long row, long column, bool along_rows, long count, S *to, long step) {
    const T *from = static_cast<const T *>(m.at);
    const long down = m.transposed ? m.leading : 1, right = m.transposed ? 1 : m.leading;
    from += row * down + column * right;
    const long stride = along_rows ? down : right;
    for (long i = 0; i < count; i++) to[i * step] = S(widen(from[i * stride]));
}

template <class S> void gather(const Matrix &m, long row, long column, bool along_rows, long count, S *to, long step) {
    switch (m.type) {
        case F32: return gather<S, float>(m, row, column, along_rows, count, to, step);
        case F64: return gather<S, double>(m, row, column, along_rows, count, to, step);
        case F16: return gather<S, __half>(m, row, column, along_rows, count, to, step);
        default: return gather<S, __nv_bfloat16>(m, row, column, along_rows, count, to, step);
    }
}

// The columns [from, to) of C = alpha op(A) op(B) + beta C.
template <class S> void columns(const Matrix &a, const Matrix &b, void *c, int type, long leading, long m, long k, S alpha, S beta, long from, long to) {
    using V = typename Vector<S>::Type;
    constexpr long L = Vector<S>::LANES, ROWS = 2 * L, COLUMNS = 6, STRIPS = 16; // a block of A is STRIPS × ROWS rows
    std::vector<S> sums(std::size_t((m + ROWS - 1) / ROWS * ROWS) * COLUMNS * 8);
    // Aligned by hand: vectors of 32 bytes.
    std::vector<S> space(STRIPS * ROWS * PART + PART * COLUMNS * 8 + L);
    S *packed_a = reinterpret_cast<S *>((std::uintptr_t(space.data()) + 31) / 32 * 32), *packed_b = packed_a + STRIPS * ROWS * PART;
    for (long column = from; column < to; column += COLUMNS * 8) {
        const long width = std::min(COLUMNS * 8, to - column), panels = (width + COLUMNS - 1) / COLUMNS;
        std::fill(sums.begin(), sums.end(), S(0));
        for (long part = 0; part < k; part += PART) {
            const long depth = std::min(PART, k - part);
            for (long p = 0; p < panels; p++)
                for (long j = 0; j < COLUMNS; j++) {
                    S *at = packed_b + p * PART * COLUMNS + j;
                    if (p * COLUMNS + j < width) gather<S>(b, part, column + p * COLUMNS + j, true, depth, at, COLUMNS);
                    else for (long i = 0; i < depth; i++) at[i * COLUMNS] = 0;
                }
            for (long block = 0; block < m; block += STRIPS * ROWS) {
                const long height = std::min(STRIPS * ROWS, m - block), strips = (height + ROWS - 1) / ROWS;
                for (long s = 0; s < strips; s++) {
                    S *at = packed_a + s * ROWS * PART;
                    const long row = block + s * ROWS, rows = std::min(ROWS, m - row);
                    if (rows < ROWS) std::fill(at, at + ROWS * depth, S(0));
                    if (a.transposed) for (long i = 0; i < rows; i++) gather<S>(a, row + i, part, false, depth, at + i, ROWS);
                    else for (long i = 0; i < depth; i++) gather<S>(a, row, part + i, true, rows, at + i * ROWS, 1);
                }
                for (long s = 0; s < strips; s++)
                    for (long p = 0; p < panels; p++) {
                        V sum[COLUMNS][2] = {};
                        const S *x = packed_a + s * ROWS * PART, *y = packed_b + p * PART * COLUMNS;
                        for (long i = 0; i < depth; i++, x += ROWS, y += COLUMNS) {
                            const V x0 = *reinterpret_cast<const V *>(x), x1 = *reinterpret_cast<const V *>(x + L);
                            for (long j = 0; j < COLUMNS; j++) sum[j][0] += x0 * y[j], sum[j][1] += x1 * y[j];
                        }
                        S *into = sums.data() + (((block / ROWS + s) * 8 + p) * COLUMNS) * ROWS;
                        for (long j = 0; j < COLUMNS; j++)
                            for (long i = 0; i < L; i++) into[j * ROWS + i] += sum[j][0][i], into[j * ROWS + L + i] += sum[j][1][i];
                    }
            }
        }
        for (long j = 0; j < width; j++)
            for (long i = 0; i < m; i++) {
                const S sum = alpha * sums[((i / ROWS * 8 + j / COLUMNS) * COLUMNS + j % COLUMNS) * ROWS + i % ROWS];
                const long at = (column + j) * leading + i;
                const auto store = [&](auto *out) {
                    using T = std::remove_reference_t<decltype(*out)>;
                    // With beta 0 the result's memory is not read: it may hold anything.
                    out[at] = narrow<T>(beta == S(0) ? sum : S(sum + beta * S(widen(out[at]))));
                };
                switch (type) {
                    case F32: store(static_cast<float *>(c)); break;
                    case F64: store(static_cast<double *>(c)); break;
                    case F16: store(static_cast<__half *>(c)); break;
                    default: store(static_cast<__nv_bfloat16 *>(c));
                }
            }
    }
}

struct Product {
    const char *entry;
    void *handle;
    int op_a, op_b;
    long m, n, k;
    const void *alpha;
    const void *a;
    int type_a;
    long lda, stride_a;
    const void *b;
    int type_b;
    long ldb, stride_b;
    const void *beta;
    void *c;
    int type_c;
    long ldc, stride_c, batch;
    int compute;
};

Status refused(Status status, const Product &p, const char *why) {
    refuse(CUDA_ERROR_INVALID_VALUE, "%s: %s (m %ld, n %ld, k %ld, lda %ld, ldb %ld, ldc %ld, batch %ld)", p.entry, why, p.m, p.n, p.k, p.lda, p.ldb,
           p.ldc, p.batch);
    return status;
}

template <class S> void compute(const Product &p, S alpha, S beta) {
    const double work = 2.0 * p.m * p.n * p.k;
    // Each thread takes some columns of some products.
    const long shares = work * p.batch < 2e6 ? 1 : long(settings().threads);
    const long all = p.n * p.batch;
    const auto share = [&](long from, long to) {
        while (from < to) {
            const long i = from / p.n, first = from % p.n, last = std::min(p.n, first + to - from);
            const Matrix a{static_cast<const char *>(p.a) + i * p.stride_a * size_of(p.type_a), p.type_a, p.op_a != NORMAL, p.lda};
            const Matrix b{static_cast<const char *>(p.b) + i * p.stride_b * size_of(p.type_b), p.type_b, p.op_b != NORMAL, p.ldb};
            columns<S>(a, b, static_cast<char *>(p.c) + i * p.stride_c * size_of(p.type_c), p.type_c, p.ldc, p.m, p.k, alpha, beta, first, last);
            from += last - first;
        }
    };
    std::vector<std::thread> threads;
    for (long t = 1; t < shares; t++) threads.emplace_back(share, all * t / shares, all * (t + 1) / shares);
    share(0, all / shares);
    for (auto &thread : threads) thread.join();
}

Status product(const Product &p) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!handles().count(p.handle)) return NOT_INITIALIZED;
    const Handle &handle = *static_cast<const Handle *>(p.handle);
    if (broken() != CUDA_SUCCESS) return Status(13); // CUBLAS_STATUS_EXECUTION_FAILED
    if (handle.pointer_mode != HOST) abort_with("%s: factors on the device are not modelled", p.entry);
    if (p.op_a < NORMAL || p.op_a > CONJUGATE || p.op_b < NORMAL || p.op_b > CONJUGATE) return refused(INVALID_VALUE, p, "no such operation");
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) return refused(INVALID_VALUE, p, "a negative size");
    if (p.lda < std::max(1L, p.op_a == NORMAL ? p.m : p.k)) return refused(INVALID_VALUE, p, "lda is too small");
    if (p.ldb < std::max(1L, p.op_b == NORMAL ? p.k : p.n)) return refused(INVALID_VALUE, p, "ldb is too small");
    if (p.ldc < std::max(1L, p.m)) return refused(INVALID_VALUE, p, "ldc is too small");
    if (!p.alpha || !p.beta) return refused(INVALID_VALUE, p, "a null factor");
    const bool half = p.type_a == F16 || p.type_a == BF16;
    bool supported = p.type_a == p.type_b;
    switch (p.compute) {
        case BY_F16: supported &= p.type_a == F16 && p.type_c == F16; break;
        case BY_F32:
        case BY_F32_PEDANTIC: supported &= (half || p.type_a == F32) && (p.type_c == p.type_a || p.type_c == F32); break;
        case FAST_16F:
        case FAST_16BF:
        case FAST_TF32: supported &= p.type_a == F32 && p.type_c == F32; break;
        case BY_F64: supported &= p.type_a == F64 && p.type_c == F64; break;
        default: supported = false;
    }
    if (!supported) return refused(NOT_SUPPORTED, p, "these types of numbers are not multiplied that way");
    if (p.m == 0 || p.n == 0 || p.batch == 0) return SUCCESS;

    double alpha, beta;
    if (p.compute == BY_F64) alpha = *static_cast<const double *>(p.alpha), beta = *static_cast<const double *>(p.beta);
    else if (p.compute == BY_F16) alpha = widen(*static_cast<const __half *>(p.alpha)), beta = widen(*static_cast<const __half *>(p.beta));
    else alpha = *static_cast<const float *>(p.alpha), beta = *static_cast<const float *>(p.beta);

    // What is reached through each pointer, from the shape in memory.
    const auto span = [&](long rows, long columns, long leading, long stride) {
        return std::size_t(rows && columns ? (columns - 1) * leading + rows + (p.batch - 1) * stride : 0);
    };
    const bool na = p.op_a == NORMAL, nb = p.op_b == NORMAL;
    const struct {
        const char *name;
        const void *at;
        std::size_t bytes, element;
    } operands[] = {
        {"A", p.a, span(na ? p.m : p.k, na ? p.k : p.m, p.lda, p.stride_a) * size_of(p.type_a), size_of(p.type_a)},
        {"B", p.b, span(nb ? p.k : p.n, nb ? p.n : p.k, p.ldb, p.stride_b) * size_of(p.type_b), size_of(p.type_b)},
        {"C", p.c, span(p.m, p.n, p.ldc, p.stride_c) * size_of(p.type_c), size_of(p.type_c)},
    };
    for (const auto &operand : operands) {
        if (operand.bytes == 0) continue;
        std::string why;
        if (!operand.at) return refused(INVALID_VALUE, p, "a null matrix");
        if (std::uintptr_t(operand.at) % operand.element) {
            broken() = refuse(CUDA_ERROR_MISALIGNED_ADDRESS, "%s: matrix %s is not aligned", p.entry, operand.name);
            return Status(13);
        }
        if (!in_allocation(CUdeviceptr(operand.at), operand.bytes, &why)) {
            broken() = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s: matrix %s: %s", p.entry, operand.name, why.c_str());
            return Status(13);
        }
    }
    // One result may lie in the gaps of another, as far as this check goes: only the same one twice is refused.
    if (p.batch > 1 && p.stride_c == 0)
        return refused(INVALID_VALUE, p, "all results of a batch lie in one place");
    const int stream = stream_of(handle.stream);
    if (stream < 0) return NOT_INITIALIZED;
    const Use uses[] = {{CUdeviceptr(p.a), false}, {CUdeviceptr(p.b), false}, {CUdeviceptr(p.c), true}};
    enqueue(stream, p.entry, uses, 3);

    const double begin = now();
    if (!settings().count_only) {
        if (p.compute == BY_F64) compute<double>(p, alpha, beta);
        else compute<float>(p, float(alpha), float(beta));
    }
    const auto elements = [&](long rows, long columns, long stride) { return std::uint64_t(rows) * columns * (stride ? p.batch : 1); };
    const char *names[] = {"f32", "f64", "f16"};
    const std::string name = p.type_a == BF16 ? "bf16" : names[p.type_a];
    count_gemm(name, 2ull * p.m * p.n * p.k * p.batch,
               elements(p.m, p.k, p.stride_a) * size_of(p.type_a) + elements(p.k, p.n, p.stride_b) * size_of(p.type_b) +
                   (beta != 0 ? std::uint64_t(p.m) * p.n * p.batch * size_of(p.type_c) : 0),
               std::uint64_t(p.m) * p.n * p.batch * size_of(p.type_c), now() - begin);
    return SUCCESS;
}

} // namespace

extern "C" {

SOFT_API int cublasCreate_v2(void **to) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!to) return INVALID_VALUE;
    auto *handle = new Handle{nullptr, HOST};
    handles().insert(handle);
    *to = handle;
    return SUCCESS;
}

SOFT_API int cublasDestroy_v2(void *handle) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!handles().erase(handle)) return NOT_INITIALIZED;
    delete static_cast<Handle *>(handle);
    return SUCCESS;
}

SOFT_API int cublasSetStream_v2(void *handle, CUstream stream) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!handles().count(handle)) return NOT_INITIALIZED;
    static_cast<Handle *>(handle)->stream = stream;
    return SUCCESS;
}

// The way of computing does not change.
SOFT_API int cublasSetMathMode(void *handle, int) { return handles().count(handle) ? SUCCESS : NOT_INITIALIZED; }

SOFT_API int cublasSetPointerMode_v2(void *handle, int mode) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!handles().count(handle)) return NOT_INITIALIZED;
    if (mode != HOST && mode != DEVICE) return INVALID_VALUE;
    static_cast<Handle *>(handle)->pointer_mode = mode;
    return SUCCESS;
}

SOFT_API int cublasGetPointerMode_v2(void *handle, int *mode) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!handles().count(handle)) return NOT_INITIALIZED;
    *mode = static_cast<Handle *>(handle)->pointer_mode;
    return SUCCESS;
}

SOFT_API int cublasGemmStridedBatchedEx(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda,
                                        long long stride_a, const void *b, int type_b, int ldb, long long stride_b, const void *beta, void *c,
                                        int type_c, int ldc, long long stride_c, int batch, int compute, int) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, stride_a, b, type_b, ldb, stride_b, beta, c, type_c, ldc, stride_c, batch, compute});
}

SOFT_API int cublasGemmEx(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda, const void *b,
                          int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute, int) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c, ldc, 0, 1, compute});
}

SOFT_API int cublasSgemm_v2(void *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                            const float *beta, float *c, int ldc) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, F32, lda, 0, b, F32, ldb, 0, beta, c, F32, ldc, 0, 1, BY_F32});
}

SOFT_API int cublasDgemm_v2(void *handle, int op_a, int op_b, int m, int n, int k, const double *alpha, const double *a, int lda, const double *b,
                            int ldb, const double *beta, double *c, int ldc) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, F64, lda, 0, b, F64, ldb, 0, beta, c, F64, ldc, 0, 1, BY_F64});
}

SOFT_API int cublasSgemmStridedBatched(void *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a, int lda,
                                       long long stride_a, const float *b, int ldb, long long stride_b, const float *beta, float *c, int ldc,
                                       long long stride_c, int batch) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, F32, lda, stride_a, b, F32, ldb, stride_b, beta, c, F32, ldc, stride_c, batch, BY_F32});
}

SOFT_API int cublasDgemmStridedBatched(void *handle, int op_a, int op_b, int m, int n, int k, const double *alpha, const double *a, int lda,
                                       long long stride_a, const double *b, int ldb, long long stride_b, const double *beta, double *c, int ldc,
                                       long long stride_c, int batch) {
    return product({__func__, handle, op_a, op_b, m, n, k, alpha, a, F64, lda, stride_a, b, F64, ldb, stride_b, beta, c, F64, ldc, stride_c, batch, BY_F64});
}

} // extern "C"
