// The software device's own test: kernels, reductions and products of matrices against plain loops, and what must be refused. Prints a
// sum over the bits of all results, which has to be the same in every run (`build test` compares two).
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" {
int cublasCreate_v2(void **);
int cublasDestroy_v2(void *);
int cublasSetStream_v2(void *, CUstream);
int cublasGemmStridedBatchedEx(void *, int, int, int, int, int, const void *, const void *, int, int, long long, const void *, int, int, long long,
                               const void *, void *, int, int, long long, int, int, int);
}

namespace {

int failures = 0;
std::uint64_t bits = 1469598103934665603ull;

void expect(bool holds, const std::string &what) {
    if (holds) return;
    std::printf("FAILED: %s\n", what.c_str());
    failures++;
}

void done(CUresult result, const char *what) {
    if (result == CUDA_SUCCESS) return;
    std::printf("FAILED: %s: %d\n", what, int(result));
    std::exit(1);
}
#define DONE(call) done(call, #call)

// Numbers that look random, from -1 to 1.
double random_number(std::size_t i, int seed) { return std::sin(double((i + 1) * (2 * seed + 7919)) * 0.618034); }

template <class T> T from_double(double x) { return T(x); }
template <> __half from_double(double x) { return __float2half(float(x)); }
template <> __nv_bfloat16 from_double(double x) { return __float2bfloat16(float(x)); }
double to_double(float x) { return x; }
double to_double(double x) { return x; }
double to_double(uint32_t x) { return x; }
double to_double(__half x) { return __half2float(x); }
double to_double(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T> std::vector<T> random_numbers(std::size_t count, int seed, double scale = 1) {
    std::vector<T> all(count);
    for (std::size_t i = 0; i < count; i++) all[i] = from_double<T>(random_number(i, seed) * scale);
    return all;
}

// Memory of the device.
template <class T> struct Slice {
    CUdeviceptr at = 0;
    std::size_t count;
    explicit Slice(std::size_t count) : count(count) { DONE(cuMemAllocAsync(&at, count * sizeof(T), CU_STREAM_PER_THREAD)); }
    explicit Slice(const std::vector<T> &from) : Slice(from.size()) {
        DONE(cuMemcpyHtoDAsync(at, from.data(), count * sizeof(T), CU_STREAM_PER_THREAD));
    }
    ~Slice() { cuMemFreeAsync(at, CU_STREAM_PER_THREAD); }
    Slice(const Slice &) = delete;
    std::vector<T> get() const {
        std::vector<T> all(count);
        DONE(cuMemcpyDtoHAsync(all.data(), at, count * sizeof(T), CU_STREAM_PER_THREAD));
        DONE(cuStreamSynchronize(CU_STREAM_PER_THREAD));
        const auto *bytes = reinterpret_cast<const unsigned char *>(all.data());
        for (std::size_t i = 0; i < count * sizeof(T); i++) bits = (bits ^ bytes[i]) * 1099511628211ull;
        return all;
    }
};

CUfunction kernel(const char *module, const char *name) {
    CUmodule loaded;
    CUfunction function;
    DONE(cuModuleLoadData(&loaded, (std::string("// soft-cuda module ") + module + "\n").c_str()));
    done(cuModuleGetFunction(&function, loaded, name), name);
    return function;
}

struct Shape {
    unsigned grid, block_x, block_y = 1;
};
Shape for_elements(std::size_t count) { return {unsigned((count + 1023) / 1024), 1024}; }

template <class... A> CUresult launch(CUfunction function, Shape shape, A... arguments) {
    void *parameters[] = {&arguments...};
    return cuLaunchKernel(function, shape.grid, 1, 1, shape.block_x, shape.block_y, 1, 0, CU_STREAM_PER_THREAD, parameters, nullptr);
}

template <class T> void near(const std::vector<T> &got, const std::function<double(std::size_t)> &want, double tolerance, const std::string &what) {
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < got.size(); i++) {
        const double w = want(i), apart = std::fabs(to_double(got[i]) - w) / (1 + std::fabs(w));
        if (!(apart <= worst)) worst = apart, at = i;
    }
    if (!(worst <= tolerance)) expect(false, what + ": " + std::to_string(worst) + " apart at " + std::to_string(at));
}

template <class T> const char *suffix();
template <> const char *suffix<float>() { return "f32"; }
template <> const char *suffix<double>() { return "f64"; }
template <> const char *suffix<__half>() { return "f16"; }
template <> const char *suffix<__nv_bfloat16>() { return "bf16"; }
template <class T> std::string named(const char *name) { return std::string(name) + "_" + suffix<T>(); }

template <class T> void elementwise(double tolerance) {
    const std::size_t rows = 37, columns = 61, count = rows * columns;
    const auto a = random_numbers<T>(count, 1), b = random_numbers<T>(columns, 2);
    const Slice<T> x(a), y(b), out(count);
    // x · 3 + 0.5
    DONE(launch(kernel("affine", named<T>("affine").c_str()), for_elements(count), count, std::size_t(1), CUdeviceptr(0), x.at, out.at, from_double<T>(3), from_double<T>(0.5)));
    near(out.get(), [&](std::size_t i) { return to_double(a[i]) * 3 + 0.5; }, tolerance, named<T>("affine"));
    // The second is one row, for all.
    const Slice<std::size_t> info(std::vector<std::size_t>{rows, columns, columns, 1, 0, 1});
    for (const char *name : {"badd", "bsub", "bmul", "bmaximum"}) {
        DONE(launch(kernel("binary", named<T>(name).c_str()), for_elements(count), count, std::size_t(2), info.at, x.at, y.at, out.at));
        near(out.get(), [&](std::size_t i) {
            const double p = to_double(a[i]), q = to_double(b[i % columns]);
            return std::string(name) == "badd" ? p + q : std::string(name) == "bsub" ? p - q : std::string(name) == "bmul" ? p * q : std::max(p, q);
        }, tolerance, named<T>(name));
    }
    // Transposed: strides (1, columns).
    const Slice<std::size_t> transposed(std::vector<std::size_t>{columns, rows, 1, columns});
    DONE(launch(kernel("unary", named<T>("usilu").c_str()), for_elements(count), count, std::size_t(2), transposed.at, x.at, out.at));
    near(out.get(), [&](std::size_t i) { const double p = to_double(a[i % rows * columns + i / rows]); return p / (1 + std::exp(-p)); }, tolerance, named<T>("usilu"));
    const Slice<float> wide(count);
    DONE(launch(kernel("cast", (std::string("cast_") + suffix<T>() + "_f32").c_str()), for_elements(count), count, std::size_t(1), CUdeviceptr(0), x.at, wide.at));
    near(wide.get(), [&](std::size_t i) { return double(float(to_double(a[i]))); }, 0, named<T>("cast"));
    DONE(launch(kernel("cast", (std::string("cast_f32_") + suffix<T>()).c_str()), for_elements(count), count, std::size_t(1), CUdeviceptr(0), wide.at, out.at));
    near(out.get(), [&](std::size_t i) { return double(float(to_double(a[i]))); }, 0, named<T>("cast back"));
    // Columns 5, 0, 60.
    const std::vector<uint32_t> order{5, 0, 60};
    const Slice<uint32_t> ids(order);
    const Slice<T> some(rows * 3);
    const Slice<std::size_t> plain(std::vector<std::size_t>{rows, columns, columns, 1});
    DONE(launch(kernel("indexing", (std::string("is_u32_") + suffix<T>()).c_str()), for_elements(rows * 3), rows * 3, std::size_t(2), plain.at, ids.at, x.at, some.at, rows, columns, std::size_t(3), std::size_t(1)));
    near(some.get(), [&](std::size_t i) { return to_double(a[i / 3 * columns + order[i % 3]]); }, 0, named<T>("index_select"));
    DONE(launch(kernel("fill", named<T>("copy2d").c_str()), for_elements(rows * 7), x.at, some.at, uint32_t(3), uint32_t(7), uint32_t(columns), uint32_t(7)));
    const auto copied = some.get();
    for (std::size_t i = 0; i < 21; i++) expect(to_double(copied[i]) == to_double(a[i / 7 * columns + i % 7]), named<T>("copy2d"));
}

template <class T> void reductions(double tolerance) {
    for (const std::size_t columns : {7, 33, 100, 1000, 3000}) {
        const std::size_t rows = 5;
        const auto a = random_numbers<T>(rows * columns, 3);
        const Slice<T> x(a), out(rows), same(rows * columns);
        const Slice<uint32_t> place(rows);
        const Slice<std::size_t> info(std::vector<std::size_t>{rows, columns, columns, 1});
        unsigned block = 1;
        while (block < columns && block < 1024) block *= 2;
        const auto row = [&](std::size_t i, auto &&f) { for (std::size_t j = 0; j < columns; j++) f(to_double(a[i * columns + j]), j); };
        const auto sum = [&](std::size_t i) { double s = 0; row(i, [&](double v, std::size_t) { s += v; }); return s; };
        const auto most = [&](std::size_t i, bool which) {
            double m = -1e9;
            std::size_t at = 0;
            row(i, [&](double v, std::size_t j) { if (v > m) m = v, at = j; });
            return which ? double(at) : m;
        };
        if (columns <= 32) DONE(launch(kernel("reduce", named<T>("fast_sum_small").c_str()), {1, 256}, rows, columns, std::size_t(2), info.at, x.at, out.at));
        else DONE(launch(kernel("reduce", named<T>("fast_sum").c_str()), {unsigned(rows), block}, rows * columns, columns, std::size_t(2), info.at, x.at, out.at));
        near(out.get(), sum, tolerance * 8, named<T>("fast_sum"));
        DONE(launch(kernel("reduce", named<T>("fast_max").c_str()), {unsigned(rows), block}, rows * columns, columns, std::size_t(2), info.at, x.at, out.at));
        near(out.get(), [&](std::size_t i) { return most(i, false); }, 0, named<T>("fast_max"));
        DONE(launch(kernel("reduce", named<T>("fast_argmax").c_str()), {unsigned(rows), block}, rows * columns, columns, std::size_t(2), info.at, x.at, place.at));
        near(place.get(), [&](std::size_t i) { return double(a[0] == a[0]) * to_double(a[i * columns + std::size_t(most(i, true))]) == most(i, false) ? most(i, true) : -1; }, std::is_same_v<T, float> ? 0 : 1e9, named<T>("fast_argmax"));
        DONE(launch(kernel("reduce", named<T>("softmax").c_str()), {unsigned(rows), 1, 32}, x.at, same.at, int(columns)));
        near(same.get(), [&](std::size_t i) {
            double s = 0;
            row(i / columns, [&](double v, std::size_t) { s += std::exp(v); });
            return std::exp(to_double(a[i])) / s;
        }, tolerance, named<T>("softmax"));
        DONE(launch(kernel("reduce", named<T>("layernorm").c_str()), {unsigned(rows), columns < 1024 ? 32u : 1024u}, x.at, same.at, CUdeviceptr(0), CUdeviceptr(0), int(columns), columns < 1024 ? 32 : 1024, 1e-5f));
        near(same.get(), [&](std::size_t i) {
            const double mean = sum(i / columns) / columns;
            double v = 0;
            row(i / columns, [&](double p, std::size_t) { v += (p - mean) * (p - mean); });
            return (to_double(a[i]) - mean) / std::sqrt(v / columns + 1e-5);
        }, tolerance * 4, named<T>("layernorm"));
    }
}

void sorting() {
    const auto a = random_numbers<float>(3 * 20, 9);
    const Slice<float> x(a);
    const Slice<uint32_t> order(3 * 20);
    CUfunction function = kernel("sort", "asort_asc_f32");
    int columns = 20, padded = 32;
    void *parameters[] = {const_cast<CUdeviceptr *>(&x.at), const_cast<CUdeviceptr *>(&order.at), &columns, &padded};
    DONE(cuLaunchKernel(function, 3, 1, 1, 32, 1, 1, 32 * 4, CU_STREAM_PER_THREAD, parameters, nullptr));
    const auto got = order.get();
    for (std::size_t i = 0; i < 60; i++)
        if (i % 20) expect(a[i / 20 * 20 + got[i - 1]] <= a[i / 20 * 20 + got[i]], "argsort");
}

void columns_of_pictures() {
    // im2col of 2 pictures of 3 × 5 × 6, a kernel of 3, padding 1, stride 2.
    const std::size_t b = 2, c = 3, h = 5, w = 6, k = 3, stride = 2, padding = 1, ho = 3, wo = 3, count = b * ho * wo * c * k * k;
    const auto a = random_numbers<float>(b * c * h * w, 4);
    const Slice<float> x(a), out(count);
    const Slice<std::size_t> info(std::vector<std::size_t>{b, c, h, w, c * h * w, h * w, w, 1});
    DONE(launch(kernel("conv", "im2col_f32"), for_elements(count), count, ho, wo, k, k, stride, padding, std::size_t(1), info.at, x.at, out.at));
    near(out.get(), [&](std::size_t i) {
        const std::size_t q = i % k, p = i / k % k, channel = i / k / k % c, column = i / k / k / c % wo, row = i / k / k / c / wo % ho, picture = i / k / k / c / wo / ho;
        const long y = long(row * stride + p) - long(padding), z = long(column * stride + q) - long(padding);
        return y < 0 || z < 0 || y >= long(h) || z >= long(w) ? 0 : to_double(a[((picture * c + channel) * h + y) * w + z]);
    }, 0, "im2col");
}

template <class T> void products(void *blas, int type, int compute, double tolerance) {
    const int shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {16, 6, 8}, {17, 13, 300}, {130, 50, 64}, {300, 1, 77}, {1, 300, 77}, {64, 64, 1000}};
    for (const auto &[m, n, k] : shapes)
        for (int ops = 0; ops < 4; ops++)
            for (const int batch : {1, 3}) {
                const bool ta = ops & 1, tb = ops & 2;
                const long lda = (ta ? k : m) + 2, ldb = (tb ? n : k) + 1, ldc = m + 3;
                const long sa = lda * (ta ? m : k), sb = ldb * (tb ? k : n), sc = ldc * n;
                const auto a = random_numbers<T>(sa * batch, 5), b = random_numbers<T>(sb * batch, 6), c = random_numbers<T>(sc * batch, 7);
                const Slice<T> x(a), y(b), z(c);
                const float alpha = 0.5, beta = ops == 3 ? 2 : 0;
                const double alpha64 = alpha, beta64 = beta;
                const void *p = compute == 70 ? static_cast<const void *>(&alpha64) : &alpha, *q = compute == 70 ? static_cast<const void *>(&beta64) : &beta;
                const int status = cublasGemmStridedBatchedEx(blas, ta, tb, m, n, k, p, reinterpret_cast<void *>(x.at), type, int(lda), sa, reinterpret_cast<void *>(y.at), type,
                                                              int(ldb), sb, q, reinterpret_cast<void *>(z.at), type, int(ldc), sc, batch, compute, 99);
                expect(status == 0, "gemm: status " + std::to_string(status));
                near(z.get(), [&](std::size_t at) {
                    const long one = at / sc, column = at % sc / ldc, row = at % ldc;
                    if (row >= m) return to_double(c[at]);
                    double sum = 0;
                    for (long i = 0; i < k; i++)
                        sum += to_double(a[one * sa + (ta ? row * lda + i : i * lda + row)]) * to_double(b[one * sb + (tb ? i * ldb + column : column * ldb + i)]);
                    return alpha * sum + beta * to_double(c[at]);
                }, tolerance, named<T>("gemm") + " " + std::to_string(m) + " " + std::to_string(n) + " " + std::to_string(k) + " " + std::to_string(ops));
            }
}

void refusals(void *blas) {
    const auto refused = [](CUresult got, CUresult want, const char *what) {
        expect(got == want, std::string(what) + ": " + std::to_string(int(got)) + " instead of " + std::to_string(int(want)));
    };
    const Slice<float> x(std::vector<float>(100)), y(100);
    CUfunction fill = kernel("fill", "fill_f32");
    refused(launch(fill, {0, 1024}, x.at, 1.0f, std::size_t(100)), CUDA_ERROR_INVALID_VALUE, "a grid of no blocks");
    refused(launch(fill, {1, 0}, x.at, 1.0f, std::size_t(100)), CUDA_ERROR_INVALID_VALUE, "a block of no threads");
    refused(launch(fill, {1, 1025}, x.at, 1.0f, std::size_t(100)), CUDA_ERROR_INVALID_VALUE, "1025 threads");
    refused(launch(fill, {1, 64, 32}, x.at, 1.0f, std::size_t(100)), CUDA_ERROR_INVALID_VALUE, "64 × 32 threads");
    refused(launch(fill, {0x80000000u, 1}, x.at, 1.0f, std::size_t(100)), CUDA_ERROR_INVALID_VALUE, "2³¹ blocks");
    void *none[] = {nullptr};
    refused(cuLaunchKernel(fill, 1, 65536, 1, 1, 1, 1, 0, nullptr, none, nullptr), CUDA_ERROR_INVALID_VALUE, "65536 rows of blocks");
    refused(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 50000, nullptr, none, nullptr), CUDA_ERROR_INVALID_VALUE, "50000 bytes of shared memory");
    float host[200] = {};
    refused(cuMemcpyHtoD(x.at, host, 404), CUDA_ERROR_INVALID_VALUE, "an upload that is too long");
    refused(cuMemcpyDtoH(host, x.at + 4, 400), CUDA_ERROR_INVALID_VALUE, "a download that is too long");
    refused(cuMemcpyDtoD(x.at, 0, 4), CUDA_ERROR_INVALID_VALUE, "a copy from null");
    refused(cuMemsetD8(x.at + 512, 0, 1), CUDA_ERROR_INVALID_VALUE, "a memset beyond the end");
    CUdeviceptr gone, none_at;
    DONE(cuMemAlloc(&gone, 64));
    DONE(cuMemFree(gone));
    refused(cuMemcpyDtoH(host, gone, 4), CUDA_ERROR_INVALID_VALUE, "a download of what was freed");
    refused(cuMemFree(gone), CUDA_ERROR_INVALID_VALUE, "a free of what was freed");
    refused(cuMemAlloc(&gone, 0), CUDA_ERROR_INVALID_VALUE, "an allocation of 0 bytes");
    DONE(cuMemAllocAsync(&none_at, 0, nullptr));
    DONE(cuMemFreeAsync(none_at, nullptr));
    refused(cuMemAlloc(&gone, std::size_t(1) << 40), CUDA_ERROR_OUT_OF_MEMORY, "an allocation of 1 TiB");
    CUmodule module;
    CUfunction function;
    DONE(cuModuleLoadData(&module, "// soft-cuda module affine\n"));
    refused(cuModuleGetFunction(&function, module, "affine_f7"), CUDA_ERROR_NOT_FOUND, "a kernel that there is not");
    refused(cuModuleGetFunction(&function, module, "fill_f32"), CUDA_ERROR_NOT_FOUND, "a kernel of another module");
    refused(cuModuleLoadData(&module, ".version 7.0"), CUDA_ERROR_INVALID_PTX, "a module of PTX");
    CUdevice device;
    refused(cuDeviceGet(&device, 7), CUDA_ERROR_INVALID_DEVICE, "device 7");
    const float one = 1, zero = 0;
    const auto gemm = [&](int lda, int ldb, int ldc, int type, int compute) {
        return cublasGemmStridedBatchedEx(blas, 0, 0, 4, 5, 6, &one, reinterpret_cast<void *>(x.at), type, lda, 0, reinterpret_cast<void *>(x.at), type, ldb, 0, &zero,
                                          reinterpret_cast<void *>(y.at), type, ldc, 0, 1, compute, 99);
    };
    expect(gemm(4, 6, 4, 0, 68) == 0, "gemm");
    expect(gemm(3, 6, 4, 0, 68) == 7, "gemm: lda");
    expect(gemm(4, 5, 4, 0, 68) == 7, "gemm: ldb");
    expect(gemm(4, 6, 3, 0, 68) == 7, "gemm: ldc");
    expect(gemm(4, 6, 4, 14, 77) == 15, "gemm: bfloat16 by TF32");
    // What breaks the context, in processes of their own.
    const auto breaks = [&](const char *what, CUresult want, const std::function<void()> &does) {
        std::fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            does();
            std::size_t free, total;
            _exit(cuMemGetInfo(&free, &total) == want ? 0 : 1);
        }
        int status;
        waitpid(child, &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, what);
    };
    breaks("a kernel that writes beyond its memory", CUDA_ERROR_ILLEGAL_ADDRESS, [&] { launch(fill, for_elements(101), x.at, 1.0f, std::size_t(101)); });
    breaks("a kernel that writes to null", CUDA_ERROR_ILLEGAL_ADDRESS, [&] { launch(fill, for_elements(1), CUdeviceptr(0), 1.0f, std::size_t(1)); });
    breaks("a kernel of a misaligned pointer", CUDA_ERROR_MISALIGNED_ADDRESS, [&] { launch(fill, for_elements(1), x.at + 2, 1.0f, std::size_t(1)); });
    breaks("a product beyond its memory", CUDA_ERROR_ILLEGAL_ADDRESS, [&] { gemm(40, 6, 4, 0, 68); });
}

// Two threads, each in its own stream. What one uploads the other may use once it was waited for; before, it is a hazard, and counted.
void races() {
    const std::vector<float> a(1000, 1);
    const Slice<float> waited(a), early(a), out(1000);
    CUfunction copy = kernel("unary", "ucopy_f32");
    CUcontext context;
    DONE(cuCtxGetCurrent(&context));
    DONE(cuMemcpyHtoDAsync(waited.at, a.data(), 4000, CU_STREAM_PER_THREAD));
    DONE(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    DONE(cuMemcpyHtoDAsync(early.at, a.data(), 4000, CU_STREAM_PER_THREAD));
    std::thread([&] {
        DONE(cuCtxSetCurrent(context));
        const Slice<float> own(1000);
        for (const Slice<float> *from : {&waited, &early})
            DONE(launch(copy, for_elements(1000), std::size_t(1000), std::size_t(1), CUdeviceptr(0), from->at, own.at));
        DONE(cuCtxSynchronize());
    }).join();
}

} // namespace

int main() {
    std::size_t free, total;
    expect(cuMemGetInfo(&free, &total) == CUDA_ERROR_NOT_INITIALIZED, "a call before cuInit");
    DONE(cuInit(0));
    expect(cuMemGetInfo(&free, &total) == CUDA_ERROR_INVALID_CONTEXT, "a call without a context");
    CUdevice device;
    CUcontext context;
    DONE(cuDeviceGet(&device, 0));
    DONE(cuDevicePrimaryCtxRetain(&context, device));
    DONE(cuCtxSetCurrent(context));
    void *blas;
    expect(cublasCreate_v2(&blas) == 0 && cublasSetStream_v2(blas, CU_STREAM_PER_THREAD) == 0, "a handle");
    elementwise<float>(1e-6);
    elementwise<double>(1e-14);
    elementwise<__half>(2e-3);
    elementwise<__nv_bfloat16>(1.6e-2);
    reductions<float>(1e-6);
    reductions<__half>(4e-3);
    reductions<__nv_bfloat16>(2e-2);
    sorting();
    columns_of_pictures();
    products<float>(blas, 0, 68, 1e-5);
    products<double>(blas, 1, 70, 1e-13);
    products<__half>(blas, 2, 68, 1e-3);
    products<__nv_bfloat16>(blas, 14, 68, 1e-2);
    races();
    refusals(blas);
    cublasDestroy_v2(blas);
    DONE(cuMemGetInfo(&free, &total));
    expect(free == total, "memory that nothing uses is used");
    std::printf("%016llx\n", (unsigned long long)bits);
    return failures != 0;
}
