// cuRAND: generators of random numbers, as far as candle calls them. The numbers are not those of the real library: each is a hash of the
// seed and of its place in the sequence.
#include "device.h"

#include <cmath>
#include <cstring>
#include <unordered_set>

using namespace soft;

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 101, TYPE_ERROR = 103, LENGTH_NOT_MULTIPLE = 105, LAUNCH_FAILURE = 201 };

struct Generator {
    CUstream stream;
    std::uint64_t seed, offset;
};

std::unordered_set<const void *> &generators() {
    static auto *all = new std::unordered_set<const void *>;
    return *all;
}

std::uint64_t hash(std::uint64_t seed, std::uint64_t place) {
    std::uint64_t x = seed * 0x9e3779b97f4a7c15ull + place;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull + 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// In (0, 1].
double uniform(const Generator &generator, std::uint64_t i) { return ((hash(generator.seed, generator.offset + i) >> 11) + 1) * 0x1p-53; }

template <class T, class F> int fill(void *handle, T *to, std::size_t count, const char *name, F &&number) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!generators().count(handle)) return NOT_INITIALIZED;
    auto &generator = *static_cast<Generator *>(handle);
    std::string why;
    if (count && !in_allocation(CUdeviceptr(to), count * sizeof(T), &why)) {
        broken() = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s: %s", name, why.c_str());
        return LAUNCH_FAILURE;
    }
    const Use use{CUdeviceptr(to), true};
    enqueue(stream_of(generator.stream), name, &use, 1);
    const double begin = now();
    if (!settings().count_only)
        for (std::size_t i = 0; i < count; i++) to[i] = T(number(generator, i));
    generator.offset += count;
    count_kernel(std::string("curand/") + name, 0, count * sizeof(T), now() - begin);
    return SUCCESS;
}

template <class T> int fill_normal(void *handle, T *to, std::size_t count, T mean, T deviation, const char *name) {
    if (count % 2) return refuse(CUDA_ERROR_INVALID_VALUE, "%s: an odd count, %zu", name, count), LENGTH_NOT_MULTIPLE;
    return fill(handle, to, count, name, [=](const Generator &generator, std::size_t i) {
        // Two uniform numbers give two normal ones.
        const double radius = std::sqrt(-2 * std::log(uniform(generator, i & ~std::size_t(1)))), angle = 2 * M_PI * uniform(generator, i | 1);
        return mean + deviation * radius * (i % 2 ? std::sin(angle) : std::cos(angle));
    });
}

} // namespace

extern "C" {

SOFT_API int curandCreateGenerator(void **to, int kind) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (kind != 100) return TYPE_ERROR; // the default one
    auto *generator = new Generator{nullptr, 0, 0};
    generators().insert(generator);
    *to = generator;
    return SUCCESS;
}

SOFT_API int curandDestroyGenerator(void *handle) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!generators().erase(handle)) return NOT_INITIALIZED;
    delete static_cast<Generator *>(handle);
    return SUCCESS;
}

SOFT_API int curandSetStream(void *handle, CUstream stream) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!generators().count(handle)) return NOT_INITIALIZED;
    static_cast<Generator *>(handle)->stream = stream;
    return SUCCESS;
}

SOFT_API int curandSetPseudoRandomGeneratorSeed(void *handle, unsigned long long seed) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!generators().count(handle)) return NOT_INITIALIZED;
    static_cast<Generator *>(handle)->seed = seed;
    static_cast<Generator *>(handle)->offset = 0;
    return SUCCESS;
}

SOFT_API int curandSetGeneratorOffset(void *handle, unsigned long long offset) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (!generators().count(handle)) return NOT_INITIALIZED;
    static_cast<Generator *>(handle)->offset = offset;
    return SUCCESS;
}

SOFT_API int curandGenerateUniform(void *handle, float *to, std::size_t count) { return fill(handle, to, count, "uniform_f32", uniform); }
SOFT_API int curandGenerateUniformDouble(void *handle, double *to, std::size_t count) { return fill(handle, to, count, "uniform_f64", uniform); }
SOFT_API int curandGenerateNormal(void *handle, float *to, std::size_t count, float mean, float deviation) {
    return fill_normal(handle, to, count, mean, deviation, "normal_f32");
}
SOFT_API int curandGenerateNormalDouble(void *handle, double *to, std::size_t count, double mean, double deviation) {
    return fill_normal(handle, to, count, mean, deviation, "normal_f64");
}

} // extern "C"
