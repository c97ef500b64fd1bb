// The software device, as its libraries see it: settings, memory, streams, counts. libcuda.so holds it; the other libraries link to that.
#pragma once

#include "registry.h"

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#define SOFT_API __attribute__((visibility("default")))

namespace soft {

struct Settings {
    std::size_t memory;    // bytes of each device
    std::uint64_t fail_allocation; // the number of the allocation that fails, from 1; 0: none
    int devices;
    int major, minor;      // compute capability
    bool count_only;       // count kernels and GEMMs, and do not run them
    bool exact;            // run every thread of every grid
    bool poison;           // fill fresh memory with bytes that are no number
    unsigned threads;      // of a GEMM
    std::string counts;    // where the counts are written; empty: nowhere
    std::string exclusive; // a file that the one process on a device locks, before the device's number; empty: there may be several
};

SOFT_API const Settings &settings();

// Held during every operation: the device does one at a time.
SOFT_API std::recursive_mutex &device();

// What made a context useless: every later call fails with it. CUDA_SUCCESS: nothing did.
SOFT_API CUresult &broken();

// Say on the standard error stream why a call is refused; hand `result` on.
SOFT_API CUresult refuse(CUresult result, const char *format, ...) __attribute__((format(printf, 2, 3)));

[[noreturn]] SOFT_API void abort_with(const char *format, ...) __attribute__((format(printf, 1, 2)));

// --- memory ---

// Whether [address, address + bytes) lies in a live allocation of the device of the current context; `why` says why not.
SOFT_API bool in_allocation(CUdeviceptr address, std::size_t bytes, std::string *why);

// The bytes that are used and free, of a device.
SOFT_API void memory_of(int device, std::size_t *used, std::size_t *free);

// --- streams ---

// One use of memory by an operation.
struct Use {
    CUdeviceptr address;
    bool write;
};

// The number of the stream that a handle means for the calling thread; -1: there is none.
SOFT_API int stream_of(CUstream handle);

// An operation is put into a stream: whatever it uses must have been left alone by other streams, or waited for. What was not is counted
// as a hazard, for it is one on a card although it goes well here.
SOFT_API void enqueue(int stream, const char *what, const Use *uses, int count);

// --- counts ---

SOFT_API void count_kernel(const std::string &name, std::uint64_t read, std::uint64_t written, double seconds);
SOFT_API void count_gemm(const std::string &name, std::uint64_t operations, std::uint64_t read, std::uint64_t written, double seconds);
SOFT_API void count_copy(const char *kind, std::uint64_t bytes);
SOFT_API void count_hazard(const char *kind, const std::string &text);
SOFT_API double now(); // seconds

// --- kernels ---

struct Loaded; // a kernel, with how it is run
const Loaded *find_kernel(const std::string &module, const std::string &name);
bool has_module(const std::string &module);
CUresult launch(const Loaded &, const Launch &, int stream, void **parameters);

// What a kernel reaches through a pointer: how many different elements, and how far the last of them is.
struct Extent {
    std::uint64_t elements, span;
    bool optional; // may be null
    bool also;     // an output that is read as well
};

// The extents of a kernel's arguments, from their values (see rules.cpp). False: the rules do not know the kernel.
bool extents(const Kernel &, const Launch &, void **parameters, Extent *of);

} // namespace soft
