// Enough of CUDA to run a kernel on a CPU: blocks one after the other, each with its threads as threads of the system, which
// meet at a real barrier. What this cannot show: warps, memory banks, registers, speed.
#pragma once
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)
#define __forceinline__ inline

struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct Coordinate { unsigned x = 0; };

inline thread_local Coordinate threadIdx;
inline Coordinate blockIdx, gridDim;

/// Where threads meet. They sleep: those of std::barrier give way to every other process before they look again, and on a
/// busy machine a kernel of a second takes minutes.
class Meeting {
public:
    explicit Meeting(int threads) : threads(threads) {}

    void wait() {
        std::unique_lock held(mutex);
        const unsigned long mine = round;
        if (++arrived == threads) {
            arrived = 0;
            ++round;
            everybody.notify_all();
        } else
            everybody.wait(held, [&] { return round != mine; });
    }

private:
    const int threads;
    int arrived = 0;
    unsigned long round = 0;
    std::mutex mutex;
    std::condition_variable everybody;
};

inline Meeting* block_barrier = nullptr;
extern float2 shared_memory[];
extern "C" int emulated_features;  // one compilation serves all of them

[[noreturn]] inline void __trap() { std::abort(); }

inline void __syncthreads() { block_barrier->wait(); }

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
        Meeting meeting(threads);
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
