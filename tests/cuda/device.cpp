// The device itself: its settings, what it counts, which streams wait for which, and how a kernel is launched.
#include "device.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <map>
#include <memory>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace soft {

// --- settings ---

namespace {

std::uint64_t number(const char *name, std::uint64_t otherwise) {
    const char *text = std::getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    const auto value = std::strtoull(text, &end, 10);
    if (*end) abort_with("%s is not a number: %s", name, text);
    return value;
}

} // namespace

const Settings &settings() {
    static const Settings all = [] {
        Settings s;
        s.memory = number("SOFT_CUDA_MEMORY", std::uint64_t(16) << 30);
        s.fail_allocation = number("SOFT_CUDA_FAIL_ALLOC", 0);
        s.devices = int(number("SOFT_CUDA_DEVICES", 1));
        s.count_only = number("SOFT_CUDA_COUNT_ONLY", 0) != 0;
        s.exact = number("SOFT_CUDA_EXACT", 0) != 0;
        s.poison = number("SOFT_CUDA_POISON", 1) != 0 && !s.count_only;
        s.threads = unsigned(number("SOFT_CUDA_THREADS", std::max(1u, std::thread::hardware_concurrency())));
        s.major = 8, s.minor = 0;
        if (const char *capability = std::getenv("SOFT_CUDA_CAPABILITY"))
            if (std::sscanf(capability, "%d.%d", &s.major, &s.minor) != 2) abort_with("SOFT_CUDA_CAPABILITY is not like 8.0: %s", capability);
        if (const char *counts = std::getenv("SOFT_CUDA_COUNTS")) s.counts = counts;
        if (const char *file = std::getenv("SOFT_CUDA_EXCLUSIVE")) s.exclusive = file;
        return s;
    }();
    return all;
}

std::recursive_mutex &device() {
    static auto *mutex = new std::recursive_mutex; // never destroyed: threads may outlive `main`
    return *mutex;
}

CUresult &broken() {
    static CUresult result = CUDA_SUCCESS;
    return result;
}

CUresult refuse(CUresult result, const char *format, ...) {
    char text[1000];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    std::fprintf(stderr, "soft-cuda: refused (%d): %s\n", int(result), text);
    return result;
}

void abort_with(const char *format, ...) {
    char text[1000];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    std::fprintf(stderr, "soft-cuda: %s\n", text);
    std::abort();
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// --- counts ---

namespace {

struct Count {
    std::uint64_t times = 0, operations = 0, read = 0, written = 0;
    double seconds = 0;
};

struct Hazard {
    std::uint64_t times = 0;
    std::map<std::string, std::uint64_t> examples;
};

struct Counts {
    std::map<std::string, Count> kernels, gemms;
    std::map<std::string, Count> copies;
    std::map<std::string, Hazard> hazards;
    double begin = now();
};

Counts &counts() {
    static auto *all = new Counts;
    return *all;
}

std::string quoted(const std::string &text) {
    std::string all = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') all += '\\';
        all += c;
    }
    return all + "\"";
}

} // namespace

void count_kernel(const std::string &name, std::uint64_t read, std::uint64_t written, double seconds) {
    Count &count = counts().kernels[name];
    count.times++, count.read += read, count.written += written, count.seconds += seconds;
}

void count_gemm(const std::string &name, std::uint64_t operations, std::uint64_t read, std::uint64_t written, double seconds) {
    Count &count = counts().gemms[name];
    count.times++, count.operations += operations, count.read += read, count.written += written, count.seconds += seconds;
}

void count_copy(const char *kind, std::uint64_t bytes) {
    Count &count = counts().copies[kind];
    count.times++, count.read += bytes;
}

void count_hazard(const char *kind, const std::string &text) {
    Hazard &hazard = counts().hazards[kind];
    hazard.times++;
    if (hazard.examples.size() < 50 || hazard.examples.count(text)) hazard.examples[text]++;
}

std::string memory_counts(); // memory.cpp
int streams_in_use();

namespace {

// Written when the process ends by itself. Without a call of cuInit there is nothing to tell.
void write_counts() {
    const std::lock_guard<std::recursive_mutex> lock(device());
    const std::string path = settings().counts + "." + std::to_string(getpid());
    std::FILE *file = std::fopen(path.c_str(), "w");
    if (!file) {
        std::fprintf(stderr, "soft-cuda: cannot write %s\n", path.c_str());
        return;
    }
    const Counts &all = counts();
    const auto table = [&](const char *name, const std::map<std::string, Count> &rows, bool operations) {
        Count sum;
        std::fprintf(file, "  \"%s\": {\n", name);
        for (const auto &[key, row] : rows) {
            std::fprintf(file, "    %s: {\"launches\": %llu, ", quoted(key).c_str(), (unsigned long long)row.times);
            if (operations) std::fprintf(file, "\"operations\": %llu, ", (unsigned long long)row.operations);
            std::fprintf(file, "\"read\": %llu, \"written\": %llu, \"host_seconds\": %.6f},\n", (unsigned long long)row.read,
                         (unsigned long long)row.written, row.seconds);
            sum.times += row.times, sum.operations += row.operations, sum.read += row.read, sum.written += row.written, sum.seconds += row.seconds;
        }
        std::fprintf(file, "    \"all\": {\"launches\": %llu, ", (unsigned long long)sum.times);
        if (operations) std::fprintf(file, "\"operations\": %llu, ", (unsigned long long)sum.operations);
        std::fprintf(file, "\"read\": %llu, \"written\": %llu, \"host_seconds\": %.6f}\n  },\n", (unsigned long long)sum.read,
                     (unsigned long long)sum.written, sum.seconds);
    };
    std::fprintf(file, "{\n  \"pid\": %d,\n  \"seconds\": %.3f,\n  \"computed\": %s,\n", int(getpid()), now() - all.begin,
                 settings().count_only ? "false" : "true");
    table("kernels", all.kernels, false);
    table("gemms", all.gemms, true);
    std::fprintf(file, "  \"copies\": {\n");
    const char *comma = "";
    for (const auto &[kind, row] : all.copies) {
        std::fprintf(file, "%s    %s: {\"times\": %llu, \"bytes\": %llu}", comma, quoted(kind).c_str(), (unsigned long long)row.times,
                     (unsigned long long)row.read);
        comma = ",\n";
    }
    std::fprintf(file, "\n  },\n  \"memory\": %s,\n  \"streams\": %d,\n  \"hazards\": {\n", memory_counts().c_str(), streams_in_use());
    comma = "";
    for (const auto &[kind, hazard] : all.hazards) {
        std::fprintf(file, "%s    %s: {\"times\": %llu, \"examples\": {\n", comma, quoted(kind).c_str(), (unsigned long long)hazard.times);
        const char *inner = "";
        for (const auto &[text, times] : hazard.examples) {
            std::fprintf(file, "%s      %s: %llu", inner, quoted(text).c_str(), (unsigned long long)times);
            inner = ",\n";
        }
        std::fprintf(file, "\n    }}");
        comma = ",\n";
    }
    std::fprintf(file, "\n  }\n}\n");
    std::fclose(file);
}

} // namespace

void begin_counts() {
    counts();
    if (!settings().counts.empty()) std::atexit(write_counts);
}

// --- kernels ---

struct Loaded {
    std::string module;
    const Kernel *exact = nullptr, *one_lane = nullptr;
};

namespace {

using Table = std::map<std::string, std::unordered_map<std::string, Loaded>>;

Table &table() {
    static auto *all = new Table;
    return *all;
}

} // namespace

void add_module(const char *module, bool one_lane, const Kernel *kernels, int count) {
    auto &names = table()[module];
    for (int i = 0; i < count; i++) {
        Loaded &loaded = names[kernels[i].name];
        loaded.module = module;
        (one_lane ? loaded.one_lane : loaded.exact) = &kernels[i];
    }
}

bool has_module(const std::string &module) { return table().count(module) > 0; }

// A module whose name is not known has the kernels of all: two of one name in different modules then cannot be told apart.
const Loaded *find_kernel(const std::string &module, const std::string &name) {
    const Loaded *found = nullptr;
    for (const auto &[key, names] : table()) {
        if (!module.empty() && key != module) continue;
        const auto at = names.find(name);
        if (at == names.end()) continue;
        if (found) abort_with("kernel %s is in module %s and in %s", name.c_str(), found->module.c_str(), key.c_str());
        found = &at->second;
    }
    return found;
}

CUresult launch(const Loaded &loaded, const Launch &shape, int stream, void **parameters) {
    const Kernel &kernel = *loaded.exact;
    Extent of[32];
    Use uses[32];
    int used = 0;
    if (kernel.count > 32) abort_with("kernel %s has too many parameters", kernel.name);
    if (!extents(kernel, shape, parameters, of)) abort_with("rules.cpp does not know kernel %s", kernel.name);
    std::uint64_t read = 0, written = 0;
    for (int i = 0; i < kernel.count; i++) {
        const Parameter &parameter = kernel.parameters[i];
        if (!parameter.pointer) continue;
        CUdeviceptr address;
        std::memcpy(&address, parameters[i], sizeof address);
        const Extent &extent = of[i];
        if (address == 0 && extent.optional) continue;
        const std::uint64_t bytes = extent.elements * parameter.element;
        (parameter.input ? read : written) += bytes;
        if (extent.also) read += bytes;
        if (extent.span == 0) continue;
        std::string why;
        if (address % std::min<std::size_t>(parameter.element, 16))
            return broken() = refuse(CUDA_ERROR_MISALIGNED_ADDRESS, "kernel %s: argument %d, %#llx, is not aligned to %zu bytes", kernel.name, i,
                                     (unsigned long long)address, parameter.element);
        if (!in_allocation(address, extent.span * parameter.element, &why))
            return broken() = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "kernel %s: argument %d: %s", kernel.name, i, why.c_str());
        uses[used++] = {address, !parameter.input};
    }
    enqueue(stream, kernel.name, uses, used);
    const double begin = now();
    if (!settings().count_only) (loaded.one_lane && !settings().exact ? loaded.one_lane : &kernel)->run(shape, parameters);
    count_kernel(loaded.module + "/" + kernel.name, read, written, now() - begin);
    return CUDA_SUCCESS;
}

} // namespace soft
