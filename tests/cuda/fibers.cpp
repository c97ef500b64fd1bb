// The threads of a block as fibers: each has a stack of its own, and gives way at barriers and warp shuffles. They go on in turn, in
// the order of their numbers, so that a kernel's result does not depend on anything but its arguments.
#include "registry.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif

// Keep the place and the stack in `from`, and go on with `to`. A jump, not a return: the processor then guesses right where it leads,
// and its stack of return addresses stays in step as all lanes come here by the same calls. The 128 bytes may be in use.
__attribute__((always_inline)) static inline void soft_switch(void **from, void *to) {
    asm volatile(
        "leaq -128(%%rsp), %%rsp\n\t"
        "pushq %%rbp\n\t"
        "leaq 1f(%%rip), %%rdx\n\t"
        "pushq %%rdx\n\t"
        "movq %%rsp, (%%rdi)\n\t"
        "movq %%rsi, %%rsp\n\t"
        "popq %%rdx\n\t"
        "jmpq *%%rdx\n"
        "1:\n\t"
        "popq %%rbp\n\t"
        "leaq 128(%%rsp), %%rsp"
        : "+D"(from), "+S"(to)
        :
        : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
          "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}

namespace soft {
namespace {

constexpr unsigned THREADS = 1024, WARP = 32;
constexpr std::size_t STACK = 64 << 10;

struct Lane {
    void *stack; // where it goes on
    unsigned x, y, z;
    bool done;
    unsigned barrier; // the generation of the block in which it last came to a barrier: it waits while that is the present one
};

struct Warp {
    unsigned alive, arrived, generation;
    uint64_t given[2][WARP];
};

// The block that is being run.
struct Block {
    Lane lanes[THREADS];
    Warp warps[THREADS / WARP];
    unsigned size, current, alive, arrived, generation;
    void *host; // the stack of the caller
    char *stacks; // of all lanes, kept
    unsigned progress; // how often something ended that others may wait for
    void (*set_thread)(unsigned, unsigned, unsigned);
    void (*thread)(void *);
    void *arguments;
};

Block block;

[[noreturn]] void fail(const char *text) {
    std::fprintf(stderr, "soft-cuda: %s\n", text);
    std::abort();
}

void start();

// A fresh stack on which `start` begins. Stacks begin at different places of a page: else all would share a few lines of the cache.
void *fresh(unsigned lane) {
    char *top = block.stacks + STACK * (lane + 1) - (lane % 16) * 256;
    void **stack = reinterpret_cast<void **>(top) - 2;
    stack[0] = reinterpret_cast<void *>(start);
    stack[1] = nullptr; // the return address of `start`, which does not return
    return stack;
}

// Go on with another lane.
__attribute__((always_inline)) inline void give_way(void **from, unsigned next) {
    block.current = next;
    Lane &lane = block.lanes[next];
    if (!lane.stack) lane.stack = fresh(next);
    soft_switch(from, lane.stack);
}

// The next lane of the block that is not done; the current one if there is no other.
unsigned next_of_block() {
    unsigned next = block.current;
    do next = next + 1 == block.size ? 0 : next + 1;
    while (block.lanes[next].done && next != block.current);
    return next;
}

// The next lane of the warp that can go on: their stacks are at hand. Else the next of the block.
unsigned next_of_warp() {
    const unsigned first = block.current / WARP * WARP;
    for (unsigned i = 1; i < WARP; i++) {
        const unsigned next = first + (block.current + i) % WARP;
        if (next < block.size && !block.lanes[next].done && block.lanes[next].barrier != block.generation) return next;
    }
    return next_of_block();
}

// Wait until `generation` changes.
__attribute__((always_inline)) inline void wait(const unsigned &generation, unsigned (*next_lane)()) {
    const unsigned now = generation, me = block.current;
    for (unsigned idle = 0; generation == now;) {
        const unsigned before = block.progress, next = next_lane();
        if (next != me) give_way(&block.lanes[me].stack, next);
        idle = block.progress == before ? idle + 1 : 0;
        if (idle > 2) fail("the threads of a block wait for each other for ever");
    }
    Lane &lane = block.lanes[me];
    block.set_thread(lane.x, lane.y, lane.z);
}

void release(Warp &warp) {
    warp.arrived = 0;
    warp.generation++;
    block.progress++;
}

void release_block() {
    block.arrived = 0;
    block.generation++;
    block.progress++;
}

void start() {
    for (;;) {
        Lane &lane = block.lanes[block.current];
        block.set_thread(lane.x, lane.y, lane.z);
        block.thread(block.arguments);
        lane.done = true;
        block.progress++;
        block.alive--;
        Warp &warp = block.warps[block.current / WARP];
        warp.alive--;
        // Those who wait do not wait for one that has ended.
        if (warp.arrived && warp.arrived == warp.alive) release(warp);
        if (block.arrived && block.arrived == block.alive) release_block();
        void *unused;
        if (block.alive == 0) soft_switch(&unused, block.host);
        // The next goes on; one that has not begun takes this stack over.
        const unsigned next = next_of_block();
        block.current = next;
        if (block.lanes[next].stack) soft_switch(&unused, block.lanes[next].stack);
    }
}

} // namespace

void run_block_of_fibers(const Launch &launch, void (*set_thread)(unsigned, unsigned, unsigned), void (*thread)(void *), void *arguments) {
    if (!block.stacks) {
        void *stacks = mmap(nullptr, STACK * THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED) fail("no memory for the stacks of a block");
        block.stacks = static_cast<char *>(stacks);
    }
    block.size = launch.block[0] * launch.block[1] * launch.block[2];
    block.alive = block.size;
    block.arrived = 0;
    block.current = 0;
    block.set_thread = set_thread;
    block.thread = thread;
    block.arguments = arguments;
    unsigned i = 0;
    for (unsigned z = 0; z < launch.block[2]; z++)
        for (unsigned y = 0; y < launch.block[1]; y++)
            for (unsigned x = 0; x < launch.block[0]; x++, i++) block.lanes[i] = {nullptr, x, y, z, false, block.generation - 1};
    for (unsigned w = 0; w * WARP < block.size; w++) {
        block.warps[w].alive = block.size - w * WARP < WARP ? block.size - w * WARP : WARP;
        block.warps[w].arrived = 0;
    }
    soft_switch(&block.host, fresh(0));
}

} // namespace soft

void soft_barrier() {
    using namespace soft;
    if (++block.arrived == block.alive) return release_block();
    block.lanes[block.current].barrier = block.generation;
    wait(block.generation, next_of_block);
}

uint64_t soft_shuffle_xor(unsigned lanes, uint64_t bits, int mask, int width) {
    using namespace soft;
    const unsigned lane = block.current % WARP;
    Warp &warp = block.warps[block.current / WARP];
    if (lanes != 0xffffffffu) fail("a shuffle among a part of a warp is not modelled");
    if (warp.alive != WARP) fail("a shuffle names lanes that are not there");
    if (width < 1 || width > int(WARP) || (width & (width - 1))) fail("a shuffle in a width that is no power of two");
    // Two slots in turn: a lane is at most one shuffle ahead of another.
    uint64_t *given = warp.given[warp.generation % 2];
    given[lane] = bits;
    if (++warp.arrived == warp.alive) release(warp);
    else wait(warp.generation, next_of_warp);
    const unsigned from = lane ^ unsigned(mask);
    return from / width == lane / width ? given[from] : bits;
}
