// The driver API: the entry points of libcuda.so.1 that candle and cudarc call, with the checks of the real ones. Whatever is declared by
// cudarc and not written here is a stub that ends the program with its name (see `build`).
#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

// What cuda.h calls by newer names.
#undef cuDeviceGetUuid
#undef cuEventElapsedTime

namespace soft {

void begin_counts(); // device.cpp

namespace {

struct Context {
    int device, retained;
    int lock = -1; // the descriptor of the file that says so, where the device is for one process
};

struct Module {
    std::string name; // empty: not told, any
};

struct Event {
    bool timed, recorded;
    int stream;
    std::uint64_t number;
    double seconds;
};

struct Driver {
    bool initialized = false;
    std::vector<Context> contexts;
    std::unordered_set<const void *> modules, events;
    std::unordered_map<const void *, std::size_t> pinned; // memory of the host that copies do not wait for
};

Driver &driver() {
    static auto *all = new Driver;
    return *all;
}

thread_local Context *current = nullptr;

// What every entry point does first.
#define ENTER()                                                                                \
    const std::lock_guard<std::recursive_mutex> lock(device());                                \
    if (!driver().initialized) return refuse(CUDA_ERROR_NOT_INITIALIZED, "%s before cuInit", __func__); \
    if (broken() != CUDA_SUCCESS) return broken()

#define ENTER_CONTEXT()                                                                        \
    ENTER();                                                                                   \
    if (!current || !current->retained) return refuse(CUDA_ERROR_INVALID_CONTEXT, "%s without a context", __func__)

#define NOT_NULL(pointer)                                                                      \
    if (!(pointer)) return refuse(CUDA_ERROR_INVALID_VALUE, "%s: " #pointer " is null", __func__)

#define STREAM(name, handle)                                                                   \
    const int name = stream_of(handle);                                                        \
    if (name < 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "%s: there is no such stream", __func__)

// Have the device for this process, as in the mode EXCLUSIVE_PROCESS. False: another has it.
bool take(int number) {
    if (settings().exclusive.empty()) return true;
    const std::string path = settings().exclusive + "." + std::to_string(number);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) abort_with("cannot open %s", path.c_str());
    if (flock(file, LOCK_EX | LOCK_NB) < 0) return close(file), false;
    return driver().contexts[number].lock = file, true;
}

void give_back(Context &context) {
    if (context.lock >= 0) close(context.lock);
    context.lock = -1;
}

bool valid(CUdevice number) { return number >= 0 && number < settings().devices; }

Event *event_of(CUevent handle) {
    return driver().events.count(handle) ? reinterpret_cast<Event *>(handle) : nullptr;
}

bool is_pinned(const void *address) {
    for (const auto &[at, bytes] : driver().pinned)
        if (address >= at && address < static_cast<const char *>(at) + bytes) return true;
    return false;
}

CUresult check(const char *what, CUdeviceptr address, std::size_t bytes) {
    std::string why;
    if (in_allocation(address, bytes, &why)) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %s", what, why.c_str());
}

CUresult upload(CUdeviceptr to, const void *from, std::size_t bytes, int stream, bool wait) {
    if (bytes == 0) return CUDA_SUCCESS;
    if (!from) return refuse(CUDA_ERROR_INVALID_VALUE, "an upload from null");
    if (const auto result = check("an upload", to, bytes)) return result;
    const Use use{to, true};
    enqueue(stream, "an upload", &use, 1);
    if (!settings().count_only || bytes <= SMALL) std::memcpy(reinterpret_cast<void *>(to), from, bytes);
    count_copy("uploaded", bytes);
    // A card's driver has no room to put those aside: it may wait until the stream has come so far.
    if (bytes > 64 << 10 && !is_pinned(from)) count_copy("uploaded from pages that are not locked", bytes);
    if (wait) waited_for(stream, last_of(stream));
    return CUDA_SUCCESS;
}

CUresult download(void *to, CUdeviceptr from, std::size_t bytes, int stream, bool wait) {
    if (bytes == 0) return CUDA_SUCCESS;
    if (!to) return refuse(CUDA_ERROR_INVALID_VALUE, "a download to null");
    if (const auto result = check("a download", from, bytes)) return result;
    const Use use{from, false};
    enqueue(stream, "a download", &use, 1);
    std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
    count_copy("downloaded", bytes);
    // A copy to memory that is not pinned returns when it is done.
    if (wait) waited_for(stream, last_of(stream));
    return CUDA_SUCCESS;
}

CUresult copy(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, int stream) {
    if (bytes == 0) return CUDA_SUCCESS;
    if (const auto result = check("a copy's target", to, bytes)) return result;
    if (const auto result = check("a copy's source", from, bytes)) return result;
    const Use uses[] = {{to, true}, {from, false}};
    enqueue(stream, "a copy", uses, 2);
    if (!settings().count_only || bytes <= SMALL) std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
    count_copy("copied", bytes);
    return CUDA_SUCCESS;
}

CUresult set(CUdeviceptr at, unsigned char byte, std::size_t bytes, int stream) {
    if (bytes == 0) return CUDA_SUCCESS;
    if (const auto result = check("a memset", at, bytes)) return result;
    const Use use{at, true};
    enqueue(stream, "a memset", &use, 1);
    if (!settings().count_only || bytes <= SMALL) std::memset(reinterpret_cast<void *>(at), byte, bytes);
    count_copy("set", bytes);
    return CUDA_SUCCESS;
}

} // namespace

int current_device() { return current ? current->device : -1; }

} // namespace soft

using namespace soft;

extern "C" {

// --- errors ---

namespace {

struct Error {
    CUresult result;
    const char *name, *text;
};

#define ERROR(name, text) {name, #name, text}
const Error errors[] = {
    ERROR(CUDA_SUCCESS, "no error"),
    ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"),
    ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"),
    ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
};
#undef ERROR

CUresult told(CUresult result, const char **text, const char *Error::*what) {
    for (const Error &error : errors)
        if (error.result == result) return *text = error.*what, CUDA_SUCCESS;
    return *text = nullptr, CUDA_ERROR_INVALID_VALUE;
}

} // namespace

SOFT_API CUresult cuGetErrorName(CUresult error, const char **text) { return told(error, text, &Error::name); }

SOFT_API CUresult cuGetErrorString(CUresult error, const char **text) { return told(error, text, &Error::text); }

// --- devices ---

SOFT_API CUresult cuInit(unsigned flags) {
    const std::lock_guard<std::recursive_mutex> lock(device());
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "cuInit: flags must be 0");
    if (driver().initialized) return CUDA_SUCCESS;
    if (settings().devices == 0) return CUDA_ERROR_NO_DEVICE;
    driver().initialized = true;
    for (int i = 0; i < settings().devices; i++) driver().contexts.push_back({i, 0});
    begin_counts();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDriverGetVersion(int *version) {
    NOT_NULL(version);
    return *version = 13000, CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetCount(int *count) {
    ENTER();
    NOT_NULL(count);
    return *count = settings().devices, CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGet(CUdevice *to, int ordinal) {
    ENTER();
    NOT_NULL(to);
    if (!valid(ordinal)) return refuse(CUDA_ERROR_INVALID_DEVICE, "there is no device %d", ordinal);
    return *to = ordinal, CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetName(char *name, int length, CUdevice number) {
    ENTER();
    NOT_NULL(name);
    if (!valid(number) || length < 1) return CUDA_ERROR_INVALID_VALUE;
    std::strncpy(name, "Software CUDA device", length);
    name[length - 1] = 0;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice number) {
    ENTER();
    NOT_NULL(uuid);
    if (!valid(number)) return CUDA_ERROR_INVALID_DEVICE;
    std::memcpy(uuid->bytes, "software-device", 16);
    uuid->bytes[15] = char(number);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice number) { return cuDeviceGetUuid_v2(uuid, number); }

SOFT_API CUresult cuDeviceTotalMem(size_t *bytes, CUdevice number) {
    ENTER();
    NOT_NULL(bytes);
    if (!valid(number)) return CUDA_ERROR_INVALID_DEVICE;
    return *bytes = settings().memory, CUDA_SUCCESS;
}

// The numbers of an A100.
SOFT_API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice number) {
    ENTER();
    NOT_NULL(value);
    if (!valid(number)) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 2147483647; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: *value = 65535; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 49152; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 166912; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 167936; break;
        case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *value = 65536; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *value = 65536; break;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1410000; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 1215000; break;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 41943040; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 108; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = settings().major; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = settings().minor; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY: *value = 0; break; // not modelled
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 3; break;
        case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = 0; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = 0; break;
        default: abort_with("cuDeviceGetAttribute: attribute %d is not modelled", int(attribute));
    }
    return CUDA_SUCCESS;
}

// --- contexts ---

SOFT_API CUresult cuDevicePrimaryCtxRetain(CUcontext *to, CUdevice number) {
    ENTER();
    NOT_NULL(to);
    if (!valid(number)) return CUDA_ERROR_INVALID_DEVICE;
    if (!driver().contexts[number].retained && !take(number)) return CUDA_ERROR_DEVICE_UNAVAILABLE;
    driver().contexts[number].retained++;
    return *to = reinterpret_cast<CUcontext>(&driver().contexts[number]), CUDA_SUCCESS;
}

SOFT_API CUresult cuDevicePrimaryCtxRelease(CUdevice number) {
    ENTER();
    if (!valid(number)) return CUDA_ERROR_INVALID_DEVICE;
    Context &context = driver().contexts[number];
    if (!context.retained) return refuse(CUDA_ERROR_INVALID_CONTEXT, "a context is released more often than retained");
    if (--context.retained == 0) release_all(number), give_back(context);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxGetCurrent(CUcontext *to) {
    ENTER();
    NOT_NULL(to);
    return *to = reinterpret_cast<CUcontext>(current), CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxSetCurrent(CUcontext context) {
    ENTER();
    auto *given = reinterpret_cast<Context *>(context);
    auto &all = driver().contexts;
    if (given && (given < all.data() || given >= all.data() + all.size())) return refuse(CUDA_ERROR_INVALID_CONTEXT, "there is no such context");
    return current = given, CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxGetDevice(CUdevice *to) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    return *to = current->device, CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxSynchronize(void) {
    ENTER_CONTEXT();
    count_copy("waits for the context", 0);
    waited_for_all();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxSetFlags(unsigned) {
    ENTER_CONTEXT();
    return CUDA_SUCCESS;
}

// --- memory ---

SOFT_API CUresult cuMemAlloc(CUdeviceptr *to, size_t bytes) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    if (bytes == 0) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemAlloc of 0 bytes");
    return allocate(bytes, -1, to);
}

// Of 0 bytes it gives the null pointer.
SOFT_API CUresult cuMemAllocAsync(CUdeviceptr *to, size_t bytes, CUstream handle) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    STREAM(stream, handle);
    if (bytes == 0) return *to = 0, CUDA_SUCCESS;
    return allocate(bytes, stream, to);
}

SOFT_API CUresult cuMemFree(CUdeviceptr address) {
    ENTER_CONTEXT();
    return address ? release(address, -1) : CUDA_SUCCESS;
}

SOFT_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    return address ? release(address, stream) : CUDA_SUCCESS;
}

SOFT_API CUresult cuMemGetInfo(size_t *free, size_t *total) {
    ENTER_CONTEXT();
    NOT_NULL(free);
    NOT_NULL(total);
    size_t used;
    memory_of(current->device, &used, free);
    return *total = settings().memory, CUDA_SUCCESS;
}

SOFT_API CUresult cuMemHostAlloc(void **to, size_t bytes, unsigned) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    if (bytes == 0) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemHostAlloc of 0 bytes");
    *to = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*to) return CUDA_ERROR_OUT_OF_MEMORY;
    driver().pinned[*to] = bytes;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuMemAllocHost(void **to, size_t bytes) { return cuMemHostAlloc(to, bytes, 0); }

SOFT_API CUresult cuMemFreeHost(void *address) {
    ENTER_CONTEXT();
    if (!driver().pinned.erase(address)) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost of what cuMemHostAlloc did not give");
    std::free(address);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
    ENTER_CONTEXT();
    return upload(to, from, bytes, 0, true);
}

// What is not pinned is copied before the call returns; the device may get it later.
SOFT_API CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    return upload(to, from, bytes, stream, false);
}

SOFT_API CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
    ENTER_CONTEXT();
    return download(to, from, bytes, 0, true);
}

SOFT_API CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    return download(to, from, bytes, stream, !is_pinned(to));
}

SOFT_API CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    ENTER_CONTEXT();
    return copy(to, from, bytes, 0);
}

SOFT_API CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    return copy(to, from, bytes, stream);
}

SOFT_API CUresult cuMemsetD8(CUdeviceptr at, unsigned char byte, size_t bytes) {
    ENTER_CONTEXT();
    return set(at, byte, bytes, 0);
}

SOFT_API CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char byte, size_t bytes, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    return set(at, byte, bytes, stream);
}

// --- streams and events ---

SOFT_API CUresult cuStreamCreate(CUstream *to, unsigned flags) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    if (flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    static int created = 0;
    const int stream = new_stream(flags != CU_STREAM_NON_BLOCKING, "stream " + std::to_string(++created));
    return *to = reinterpret_cast<CUstream>(std::uintptr_t(stream) + 4096), CUDA_SUCCESS;
}

SOFT_API CUresult cuStreamCreateWithPriority(CUstream *to, unsigned flags, int) { return cuStreamCreate(to, flags); }

SOFT_API CUresult cuStreamDestroy(CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    if (stream == 0 || handle == CU_STREAM_PER_THREAD) return CUDA_ERROR_INVALID_HANDLE;
    waited_for(stream, last_of(stream));
    forget_stream(stream);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuStreamSynchronize(CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    count_copy("waits for a stream", 0);
    waited_for(stream, last_of(stream));
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuStreamQuery(CUstream handle) { return cuStreamSynchronize(handle); }

SOFT_API CUresult cuStreamWaitEvent(CUstream handle, CUevent given, unsigned flags) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    const Event *event = event_of(given);
    if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuStreamWaitEvent: there is no such event");
    if (event->recorded) stream_waits(stream, event->stream, event->number);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status) {
    ENTER_CONTEXT();
    NOT_NULL(status);
    STREAM(stream, handle);
    (void)stream;
    return *status = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}

SOFT_API CUresult cuEventCreate(CUevent *to, unsigned flags) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    auto *event = new Event{!(flags & CU_EVENT_DISABLE_TIMING), false, 0, 0, 0};
    driver().events.insert(event);
    return *to = reinterpret_cast<CUevent>(event), CUDA_SUCCESS;
}

SOFT_API CUresult cuEventDestroy(CUevent given) {
    ENTER_CONTEXT();
    Event *event = event_of(given);
    if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventDestroy: there is no such event");
    driver().events.erase(event);
    delete event;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuEventRecord(CUevent given, CUstream handle) {
    ENTER_CONTEXT();
    STREAM(stream, handle);
    Event *event = event_of(given);
    if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventRecord: there is no such event");
    event->recorded = true, event->stream = stream, event->number = last_of(stream), event->seconds = now();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuEventSynchronize(CUevent given) {
    ENTER_CONTEXT();
    const Event *event = event_of(given);
    if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventSynchronize: there is no such event");
    count_copy("waits for an event", 0);
    if (event->recorded) waited_for(event->stream, event->number);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuEventQuery(CUevent given) {
    ENTER_CONTEXT();
    const Event *event = event_of(given);
    if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventQuery: there is no such event");
    if (event->recorded) waited_for(event->stream, event->number);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent from, CUevent to) {
    ENTER_CONTEXT();
    NOT_NULL(milliseconds);
    const Event *begin = event_of(from), *end = event_of(to);
    if (!begin || !end || !begin->timed || !end->timed || !begin->recorded || !end->recorded)
        return refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventElapsedTime: an event is not there, not timed or not recorded");
    return *milliseconds = float((end->seconds - begin->seconds) * 1000), CUDA_SUCCESS;
}

SOFT_API CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to) { return cuEventElapsedTime_v2(milliseconds, from, to); }

// --- modules and kernels ---

// The compiler that stands for nvcc writes which source a module is of; an empty module is any.
SOFT_API CUresult cuModuleLoadData(CUmodule *to, const void *image) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    NOT_NULL(image);
    const std::string text(static_cast<const char *>(image), strnlen(static_cast<const char *>(image), 4096));
    const std::string mark = "// soft-cuda module ";
    std::string name;
    if (text.rfind(mark, 0) == 0) name = text.substr(mark.size(), text.find('\n') - mark.size());
    else if (text.find_first_not_of(" \n\t") != std::string::npos) return refuse(CUDA_ERROR_INVALID_PTX, "a module of PTX: only those named by the build can run");
    auto *module = new Module{name};
    driver().modules.insert(module);
    return *to = reinterpret_cast<CUmodule>(module), CUDA_SUCCESS;
}

SOFT_API CUresult cuModuleUnload(CUmodule given) {
    ENTER_CONTEXT();
    auto *module = reinterpret_cast<Module *>(given);
    if (!driver().modules.erase(module)) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuModuleUnload: there is no such module");
    delete module;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuModuleGetFunction(CUfunction *to, CUmodule given, const char *name) {
    ENTER_CONTEXT();
    NOT_NULL(to);
    NOT_NULL(name);
    auto *module = reinterpret_cast<Module *>(given);
    if (!driver().modules.count(module)) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuModuleGetFunction: there is no such module");
    const Loaded *found = find_kernel(module->name, name);
    if (!found) {
        // A module that was compiled is complete: what it lacks is missing for compute capability 8.0 on a card, too.
        if (module->name.empty() || !has_module(module->name)) abort_with("kernel %s of module '%s' is not modelled", name, module->name.c_str());
        return refuse(CUDA_ERROR_NOT_FOUND, "module %s has no kernel %s", module->name.c_str(), name);
    }
    return *to = reinterpret_cast<CUfunction>(const_cast<Loaded *>(found)), CUDA_SUCCESS;
}

SOFT_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                                 unsigned block_z, unsigned shared, CUstream handle, void **parameters, void **extra) {
    ENTER_CONTEXT();
    if (!function) return refuse(CUDA_ERROR_INVALID_HANDLE, "cuLaunchKernel without a kernel");
    NOT_NULL(parameters);
    if (extra) abort_with("cuLaunchKernel: arguments in `extra` are not modelled");
    STREAM(stream, handle);
    if (!grid_x || !grid_y || !grid_z || !block_x || !block_y || !block_z)
        return refuse(CUDA_ERROR_INVALID_VALUE, "a launch of (%u, %u, %u) blocks of (%u, %u, %u) threads", grid_x, grid_y, grid_z, block_x, block_y, block_z);
    if (grid_x > 2147483647u || grid_y > 65535 || grid_z > 65535)
        return refuse(CUDA_ERROR_INVALID_VALUE, "a launch of (%u, %u, %u) blocks", grid_x, grid_y, grid_z);
    if (block_x > 1024 || block_y > 1024 || block_z > 64 || std::uint64_t(block_x) * block_y * block_z > 1024)
        return refuse(CUDA_ERROR_INVALID_VALUE, "a launch of blocks of (%u, %u, %u) threads", block_x, block_y, block_z);
    if (shared > 49152) return refuse(CUDA_ERROR_INVALID_VALUE, "a launch with %u bytes of shared memory", shared);
    const Launch shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared};
    return launch(*reinterpret_cast<const Loaded *>(function), shape, stream, parameters);
}

} // extern "C"
