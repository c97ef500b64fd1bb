// The table of kernels: what a module of kernels tells the driver, and how the driver launches one.
#pragma once

#include <cstddef>

namespace soft {

// A parameter of a kernel. `element` is the size of what a pointer points to; `input` is whether that is constant.
struct Parameter {
    std::size_t size, alignment;
    bool pointer, input;
    std::size_t element;
};

// The shape of a launch.
struct Launch {
    unsigned grid[3], block[3];
    unsigned shared; // bytes
};

struct Kernel {
    const char *name;
    const char *parameter_names; // separated by commas
    const Parameter *parameters;
    int count;
    void (*run)(const Launch &, void **parameters);
};

// Add the kernels of a module. `one_lane`: compiled for one thread that does what all of the grid do; the driver prefers these unless
// SOFT_CUDA_EXACT is set.
void add_module(const char *module, bool one_lane, const Kernel *kernels, int count);

// Run all threads of one block as fibers, which barriers and warp shuffles switch. `set_thread` says which one goes on.
void run_block_of_fibers(const Launch &, void (*set_thread)(unsigned, unsigned, unsigned), void (*thread)(void *), void *arguments);

} // namespace soft
