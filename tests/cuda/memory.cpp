// Device memory, which is memory of the host; and streams, as far as they order operations.
//
// Each device has a reserved range of addresses. What is not touched takes no memory of the host. An operation is done at once, in the
// thread that enqueues it: so everything is in order. What on a card would not be is found by clocks: a stream knows how far it has
// waited for each other one, and an allocation knows which operations last used it.
#include "memory.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace soft {
namespace {

constexpr std::size_t ALIGNMENT = 512;

struct Done {
    int stream = -1;
    std::uint64_t number = 0;
    const char *what = "";
};

struct Allocation {
    std::size_t bytes, size; // asked for, taken
    int device;
    Done written;
    std::vector<Done> read; // at most one a stream
};

struct Memory {
    std::size_t used = 0, peak = 0;
    std::map<std::uintptr_t, std::size_t> free; // by address
    std::set<std::pair<std::size_t, std::uintptr_t>> by_size;
};

struct Stream {
    bool blocking;
    std::string name;
    std::uint64_t last = 0;      // the number of its last operation
    std::uint64_t completed = 0; // up to which the host knows that all is done
    std::vector<std::uint64_t> known; // of each other stream: up to which it has waited
};

struct State {
    std::vector<Memory> devices;
    std::map<std::uintptr_t, Allocation> live;
    std::uint64_t allocations = 0;
    std::vector<Stream> streams;
    std::unordered_map<CUstream, int> handles;
};

State &state() {
    static auto *all = [] {
        auto *s = new State;
        s->devices.resize(settings().devices);
        for (Memory &memory : s->devices) {
            // Memory of a card never runs out for being in pieces: the driver maps pages together. So addresses are plenty.
            const std::size_t range = std::max<std::size_t>(settings().memory, std::size_t(1) << 30) * 4;
            void *at = mmap(nullptr, range, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (at == MAP_FAILED) abort_with("cannot reserve %zu bytes of addresses for device memory", range);
            memory.free[std::uintptr_t(at)] = range;
            memory.by_size.insert({range, std::uintptr_t(at)});
        }
        s->streams.push_back({true, "the default stream", 0, 0, {}});
        return s;
    }();
    return *all;
}

void give_back(Memory &memory, std::uintptr_t address, std::size_t size) {
    auto next = memory.free.upper_bound(address);
    if (next != memory.free.end() && address + size == next->first) {
        size += next->second;
        memory.by_size.erase({next->second, next->first});
        next = memory.free.erase(next);
    }
    if (next != memory.free.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == address) {
            address = before->first;
            size += before->second;
            memory.by_size.erase({before->second, before->first});
            memory.free.erase(before);
        }
    }
    memory.free[address] = size;
    memory.by_size.insert({size, address});
}

std::uint64_t &known(Stream &stream, int other) {
    if (stream.known.size() <= std::size_t(other)) stream.known.resize(other + 1);
    return stream.known[other];
}

// Whether an operation in `stream` comes after `done` on a card as well.
bool after(int stream, const Done &done) {
    if (done.stream < 0 || done.stream == stream) return true;
    Stream &own = state().streams[stream];
    return done.number <= std::max(state().streams[done.stream].completed, known(own, done.stream));
}

// Everything enqueued before in streams that the default stream blocks comes first, and the other way round.
void join_default(int stream) {
    auto &streams = state().streams;
    if (stream == 0) {
        for (std::size_t other = 1; other < streams.size(); other++)
            if (streams[other].blocking) known(streams[0], int(other)) = streams[other].last;
    } else if (streams[stream].blocking) {
        known(streams[stream], 0) = streams[0].last;
    }
}

void check_order(int stream, const char *what, const Done &before, const char *kind) {
    if (after(stream, before)) return;
    const auto &streams = state().streams;
    count_hazard(kind, std::string(what) + " in " + streams[stream].name + " after " + before.what + " in " + streams[before.stream].name);
}

} // namespace

bool in_allocation(CUdeviceptr address, std::size_t bytes, std::string *why) {
    char text[200];
    auto &live = state().live;
    auto at = live.upper_bound(address);
    if (at == live.begin() || (--at, address >= at->first + at->second.size)) {
        std::snprintf(text, sizeof text, "%#llx is no live device memory", (unsigned long long)address);
    } else if (address + bytes > at->first + at->second.bytes) {
        std::snprintf(text, sizeof text, "%zu bytes from %#llx reach %zu beyond the end of an allocation of %zu bytes", bytes,
                      (unsigned long long)address, std::size_t(address + bytes - at->first - at->second.bytes), at->second.bytes);
    } else if (at->second.device != current_device()) {
        std::snprintf(text, sizeof text, "%#llx is memory of device %d, used from device %d", (unsigned long long)address, at->second.device,
                      current_device());
    } else {
        return true;
    }
    *why = text;
    return false;
}

void memory_of(int device, std::size_t *used, std::size_t *free) {
    *used = state().devices[device].used;
    *free = settings().memory - *used;
}

CUresult allocate(std::size_t bytes, int stream, CUdeviceptr *address) {
    State &s = state();
    Memory &memory = s.devices[current_device()];
    const std::size_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (++s.allocations == settings().fail_allocation)
        return refuse(CUDA_ERROR_OUT_OF_MEMORY, "allocation %llu, of %zu bytes, fails as SOFT_CUDA_FAIL_ALLOC says", (unsigned long long)s.allocations, bytes);
    if (size < bytes || size > settings().memory - memory.used)
        return refuse(CUDA_ERROR_OUT_OF_MEMORY, "allocation %llu, of %zu bytes: %zu of %zu are free", (unsigned long long)s.allocations, bytes,
                      settings().memory - memory.used, settings().memory);
    // A gap follows each allocation: so what reaches beyond one does not fall into the next.
    const std::size_t taken = size + ALIGNMENT;
    const auto fit = memory.by_size.lower_bound({taken, 0});
    if (fit == memory.by_size.end()) abort_with("the addresses of device memory are in pieces");
    const auto [whole, at] = *fit;
    memory.by_size.erase(fit);
    memory.free.erase(at);
    if (whole > taken) give_back(memory, at + taken, whole - taken);
    memory.used += size;
    memory.peak = std::max(memory.peak, memory.used);
    if (settings().poison) std::memset(reinterpret_cast<void *>(at), 0xff, size);
    Allocation allocation{bytes, size, current_device(), {}, {}};
    if (stream >= 0) {
        join_default(stream);
        Stream &own = s.streams[stream];
        allocation.written = {stream, ++own.last, "an allocation"};
    }
    s.live[at] = std::move(allocation);
    *address = at;
    return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr address, int stream) {
    State &s = state();
    const auto at = s.live.find(address);
    if (at == s.live.end()) return refuse(CUDA_ERROR_INVALID_VALUE, "free of %#llx, which is no live allocation", (unsigned long long)address);
    if (stream >= 0) {
        join_default(stream);
        s.streams[stream].last++;
        check_order(stream, "a free", at->second.written, "freed before written");
        for (const Done &read : at->second.read) check_order(stream, "a free", read, "freed before read");
    } else {
        waited_for_all();
    }
    Memory &memory = s.devices[at->second.device];
    memory.used -= at->second.size;
    // Where nothing is computed, fresh memory is zero: so what comes back from the device are numbers.
    if (settings().count_only && at->second.size <= SMALL) std::memset(reinterpret_cast<void *>(at->first), 0, at->second.size);
    // What was large goes back to the host, which clears it: cheaper than to keep it.
    if (at->second.size >= std::size_t(64) << 20) madvise(reinterpret_cast<void *>(at->first), at->second.size, MADV_DONTNEED);
    give_back(memory, at->first, at->second.size + ALIGNMENT);
    s.live.erase(at);
    return CUDA_SUCCESS;
}

void release_all(int device) {
    State &s = state();
    for (auto at = s.live.begin(); at != s.live.end();) {
        const auto next = std::next(at);
        if (at->second.device == device) release(at->first, -1);
        at = next;
    }
}

// --- streams ---

int new_stream(bool blocking, const std::string &name) {
    state().streams.push_back({blocking, name, 0, 0, {}});
    return int(state().streams.size()) - 1;
}

int stream_of(CUstream handle) {
    if (handle == nullptr || handle == CU_STREAM_LEGACY) return 0;
    if (handle == CU_STREAM_PER_THREAD) {
        thread_local int own = -1;
        if (own < 0) own = new_stream(true, "the stream of thread " + std::to_string(syscall(SYS_gettid) - getpid()));
        return own;
    }
    const auto number = std::uintptr_t(handle);
    // A handle is 4096 more than the number of the stream.
    if (number < 4096 || number - 4096 >= state().streams.size() || state().streams[number - 4096].name.empty()) return -1;
    return int(number - 4096);
}

void forget_stream(int stream) { state().streams[stream].name.clear(); }

void enqueue(int stream, const char *what, const Use *uses, int count) {
    State &s = state();
    join_default(stream);
    const std::uint64_t number = ++s.streams[stream].last;
    for (int i = 0; i < count; i++) {
        auto at = s.live.upper_bound(uses[i].address);
        if (at == s.live.begin()) continue;
        Allocation &allocation = (--at)->second;
        if (uses[i].write) {
            check_order(stream, what, allocation.written, "written before written");
            for (const Done &read : allocation.read) check_order(stream, what, read, "written before read");
            allocation.written = {stream, number, what};
            allocation.read.clear();
        } else {
            check_order(stream, what, allocation.written, "read before written");
            const auto own = std::find_if(allocation.read.begin(), allocation.read.end(), [&](const Done &read) { return read.stream == stream; });
            if (own == allocation.read.end()) allocation.read.push_back({stream, number, what});
            else *own = {stream, number, what};
        }
    }
}

std::uint64_t last_of(int stream) { return state().streams[stream].last; }

void waited_for(int stream, std::uint64_t last) {
    auto &streams = state().streams;
    // Nothing is left for the device to do: on a card it idles until the host has something new.
    if (last == streams[stream].last && streams[stream].completed < last) count_copy("waits that left a stream empty", 0);
    streams[stream].completed = std::max(streams[stream].completed, last);
    // What the stream itself had waited for is done, too.
    if (last == streams[stream].last)
        for (std::size_t other = 0; other < streams[stream].known.size(); other++)
            streams[other].completed = std::max(streams[other].completed, streams[stream].known[other]);
}

void waited_for_all() {
    for (Stream &stream : state().streams) stream.completed = stream.last;
}

void stream_waits(int stream, int other, std::uint64_t last) {
    if (stream == other) return;
    Stream &own = state().streams[stream];
    known(own, other) = std::max(known(own, other), last);
}

// --- counts ---

std::string memory_counts() {
    std::string all = "[";
    for (const Memory &memory : state().devices) {
        if (all.size() > 1) all += ", ";
        all += "{\"limit\": " + std::to_string(settings().memory) + ", \"used\": " + std::to_string(memory.used) +
               ", \"peak\": " + std::to_string(memory.peak) + "}";
    }
    return all + "], \"allocations\": " + std::to_string(state().allocations);
}

int streams_in_use() {
    return int(std::count_if(state().streams.begin(), state().streams.end(), [](const Stream &stream) { return stream.last > 0; }));
}

} // namespace soft
