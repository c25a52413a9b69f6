// Enough of CUDA to run a kernel on a CPU: blocks one after the other, each with its threads as threads of the system, which
// meet at a real barrier. What this cannot show: warps, memory banks, registers, speed.
#pragma once
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(threads)

struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct Coordinate { unsigned x = 0; };

inline thread_local Coordinate threadIdx;
inline Coordinate blockIdx, gridDim;
inline std::barrier<>* block_barrier = nullptr;
extern float2 shared_memory[];

[[noreturn]] inline void __trap() { std::abort(); }

inline void __syncthreads() { block_barrier->arrive_and_wait(); }

template <class T> void atomicAdd(T* at, T value) {
    std::atomic_ref<T> cell(*at);
    T before = cell.load(std::memory_order_relaxed);
    while (!cell.compare_exchange_weak(before, before + value, std::memory_order_relaxed)) {}
}

inline void sincospif(float x, float* sine, float* cosine) {
    *sine = float(std::sin(M_PI * double(x)));
    *cosine = float(std::cos(M_PI * double(x)));
}

/// As the driver launches: an array of pointers to the arguments.
template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<A*>(arguments[I])...);
}

template <class... A> void launch(void (*kernel)(A...), int blocks, int threads, void** arguments) {
    gridDim.x = unsigned(blocks);
    for (int block = 0; block < blocks; ++block) {
        blockIdx.x = unsigned(block);
        std::barrier<> meeting(threads);
        block_barrier = &meeting;
        std::vector<std::thread> team;
        for (int k = 0; k < threads; ++k)
            team.emplace_back([=] {
                threadIdx.x = unsigned(k);
                call(kernel, arguments, std::index_sequence_for<A...>{});
            });
        for (auto& member : team) member.join();
    }
}
