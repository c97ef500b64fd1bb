// NVML: which cards there are and how much of their memory is used. Only this process is known: of another's use it says nothing.
#include "device.h"

#include <cstdio>
#include <cstring>

using namespace soft;

namespace {

enum Status { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

// A handle is the number of the device and 1.
bool valid(const void *handle) { return std::uintptr_t(handle) >= 1 && std::uintptr_t(handle) <= std::uintptr_t(settings().devices); }

std::string uuid_of(int number) {
    char text[64];
    std::snprintf(text, sizeof text, "GPU-736f6674-7761-7265-2d64-657669636%03x", number);
    return text;
}

int copy(char *to, unsigned length, const std::string &text) {
    if (length <= text.size()) return INSUFFICIENT_SIZE;
    std::memcpy(to, text.c_str(), text.size() + 1);
    return SUCCESS;
}

struct Memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

} // namespace

extern "C" {

SOFT_API int nvmlInit_v2(void) { return SUCCESS; }
SOFT_API int nvmlInitWithFlags(unsigned) { return SUCCESS; }
SOFT_API int nvmlShutdown(void) { return SUCCESS; }
SOFT_API const char *nvmlErrorString(int status) { return status == SUCCESS ? "no error" : "an error of the software device"; }
SOFT_API int nvmlSystemGetDriverVersion(char *to, unsigned length) { return copy(to, length, "580.00"); }
SOFT_API int nvmlSystemGetNVMLVersion(char *to, unsigned length) { return copy(to, length, "13.580.00"); }
SOFT_API int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, SUCCESS; }
SOFT_API int nvmlDeviceGetCount_v2(unsigned *count) { return *count = unsigned(settings().devices), SUCCESS; }

SOFT_API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **to) {
    if (index >= unsigned(settings().devices)) return INVALID_ARGUMENT;
    return *to = reinterpret_cast<void *>(std::uintptr_t(index) + 1), SUCCESS;
}

SOFT_API int nvmlDeviceGetHandleByUUID(const char *uuid, void **to) {
    for (int i = 0; i < settings().devices; i++)
        if (uuid_of(i) == uuid) return nvmlDeviceGetHandleByIndex_v2(i, to);
    return NOT_FOUND;
}

SOFT_API int nvmlDeviceGetName(void *handle, char *to, unsigned length) { return valid(handle) ? copy(to, length, "Software CUDA device") : INVALID_ARGUMENT; }
SOFT_API int nvmlDeviceGetUUID(void *handle, char *to, unsigned length) {
    return valid(handle) ? copy(to, length, uuid_of(int(std::uintptr_t(handle)) - 1)) : INVALID_ARGUMENT;
}

SOFT_API int nvmlDeviceGetMemoryInfo_v2(void *handle, Memory *memory) {
    if (!valid(handle) || memory->version != (sizeof(Memory) | 2u << 24)) return INVALID_ARGUMENT;
    const std::lock_guard<std::recursive_mutex> lock(device());
    std::size_t used, free;
    memory_of(int(std::uintptr_t(handle)) - 1, &used, &free);
    memory->total = settings().memory, memory->reserved = 0, memory->free = free, memory->used = used;
    return SUCCESS;
}

SOFT_API int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    if (!valid(handle)) return INVALID_ARGUMENT;
    return *major = settings().major, *minor = settings().minor, SUCCESS;
}

} // extern "C"
