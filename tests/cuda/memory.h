// Device memory and streams, for the driver.
#pragma once

#include "device.h"

namespace soft {

// What is copied even where nothing is computed: shapes and indices, which are looked at.
constexpr std::size_t SMALL = 1 << 20;

// The device of the current context of the calling thread; -1: there is none.
int current_device();

// Allocate on the current device, as an operation of a stream (-1: of none, for all streams). CUDA_ERROR_OUT_OF_MEMORY beyond the limit.
CUresult allocate(std::size_t bytes, int stream, CUdeviceptr *address);
// Free what was allocated, as an operation of a stream (-1: after everything that was enqueued).
CUresult release(CUdeviceptr address, int stream);
// Free all that a device has.
void release_all(int device);

int new_stream(bool blocking, const std::string &name);
void forget_stream(int stream);
// The number of what was last put into a stream.
std::uint64_t last_of(int stream);
// The host has waited for a stream's operations up to `last`.
void waited_for(int stream, std::uint64_t last);
void waited_for_all();
// A stream waits for another's operations up to `last`.
void stream_waits(int stream, int other, std::uint64_t last);

} // namespace soft
