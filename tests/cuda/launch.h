// How the kernels of one module are launched: for each, a function of one type that unpacks the arguments and runs the kernel for every
// thread of the grid. It is included before the kernels, which launchers.py makes a table of.
#pragma once

#include "registry.h"

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace soft {

template <class T> constexpr Parameter parameter() {
    if constexpr (std::is_pointer_v<T>) {
        using Element = std::remove_pointer_t<T>;
        return {sizeof(T), alignof(T), true, std::is_const_v<Element>, sizeof(Element)};
    } else {
        return {sizeof(T), alignof(T), false, true, sizeof(T)};
    }
}

template <auto KERNEL> struct Launcher;

template <class... A, void (*KERNEL)(A...)> struct Launcher<KERNEL> {
    static constexpr int COUNT = sizeof...(A);
    static constexpr Parameter PARAMETERS[] = {parameter<A>()...};

    template <std::size_t... I> static std::tuple<A...> arguments(void **parameters, std::index_sequence<I...>) {
        return {*static_cast<A *>(parameters[I])...};
    }

#if defined(SOFT_ONE_LANE)
    static void run(const Launch &, void **parameters) {
        std::apply(KERNEL, arguments(parameters, std::index_sequence_for<A...>{}));
    }
#else
    static void set(const Launch &launch) {
        gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
        blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    }

    template <class F> static void for_blocks(const Launch &launch, F &&run_block) {
        for (unsigned z = 0; z < launch.grid[2]; z++)
            for (unsigned y = 0; y < launch.grid[1]; y++)
                for (unsigned x = 0; x < launch.grid[0]; x++) {
                    blockIdx = {x, y, z};
                    run_block();
                }
    }

#if defined(SOFT_FIBERS)
    static void set_thread(unsigned x, unsigned y, unsigned z) { threadIdx = {x, y, z}; }
    static void thread(void *arguments) { std::apply(KERNEL, *static_cast<std::tuple<A...> *>(arguments)); }

    static void run(const Launch &launch, void **parameters) {
        auto values = arguments(parameters, std::index_sequence_for<A...>{});
        set(launch);
        for_blocks(launch, [&] { run_block_of_fibers(launch, set_thread, thread, &values); });
    }
#else
    static void run(const Launch &launch, void **parameters) {
        const auto values = arguments(parameters, std::index_sequence_for<A...>{});
        set(launch);
        for_blocks(launch, [&] {
            for (unsigned z = 0; z < launch.block[2]; z++)
                for (unsigned y = 0; y < launch.block[1]; y++)
                    for (unsigned x = 0; x < launch.block[0]; x++) {
                        threadIdx = {x, y, z};
                        std::apply(KERNEL, values);
                    }
        });
    }
#endif
#endif
};

} // namespace soft
