// Enough of CUDA to run a kernel on a CPU: blocks one after the other. The threads of a block take turns on the one thread of
// the system that there is, each from one barrier to the next: a barrier is a change of stacks, not a wait for the scheduler.
// With THREADS_OF_THE_SYSTEM they are such, and meet at a real barrier, for a sanitizer to watch. What neither can show: warps,
// memory banks, registers, speed.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <utility>
#include <vector>
#ifdef THREADS_OF_THE_SYSTEM
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#else
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)
#define __forceinline__ inline

struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct Coordinate { unsigned x = 0; };

inline Coordinate blockIdx, gridDim;
extern float2 shared_memory[];
extern "C" int emulated_features;  // one compilation serves all of them

[[noreturn]] inline void __trap() { std::abort(); }

#ifdef THREADS_OF_THE_SYSTEM

inline thread_local Coordinate threadIdx;

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

inline void __syncthreads() { block_barrier->wait(); }

template <class T> void atomicAdd(T* at, T value) {
    std::atomic_ref<T> cell(*at);
    T before = cell.load(std::memory_order_relaxed);
    while (!cell.compare_exchange_weak(before, before + value, std::memory_order_relaxed)) {}
}

/// Has every thread of a block do the work.
template <class Work> void run_block(int threads, Work work) {
    Meeting meeting(threads);
    block_barrier = &meeting;
    std::vector<std::thread> team;
    for (int k = 0; k < threads; ++k)
        team.emplace_back([=] {
            threadIdx.x = unsigned(k);
            work();
        });
    for (auto& member : team) member.join();
}

#else

inline Coordinate threadIdx;

/// The threads of a block, each on a stack of its own.
class Turns {
public:
    /// Round after round, every thread from where it stood to its next barrier or its end: there and back, so that whoever
    /// wrote without a barrier is read by one that comes before it, whichever of them that is.
    template <class Work> void run(int threads, Work work) {
        if (stacks.size() < std::size_t(threads)) stacks.resize(std::size_t(threads), std::vector<char>(STACK));
        members.assign(std::size_t(threads), Member{});
        begin = [](void* given) { (*static_cast<Work*>(given))(); };
        given = &work;
        for (int k = 0; k < threads; ++k) {
            auto& place = members[std::size_t(k)].place;
            getcontext(&place);
            place.uc_stack.ss_sp = stacks[std::size_t(k)].data();
            place.uc_stack.ss_size = STACK;
            place.uc_link = &outside;
            makecontext(&place, &Turns::begun, 0);
        }
        for (int left = threads, round = 0; left > 0; ++round)
            for (int k = 0; k < threads; ++k) {
                current = &members[std::size_t(round % 2 ? threads - 1 - k : k)];
                if (current->ended) continue;
                threadIdx.x = unsigned(current - members.data());
                swapcontext(&outside, &current->place);
                left -= current->ended;
            }
    }

    void wait() { swapcontext(&current->place, &outside); }

private:
    struct Member {
        ucontext_t place;
        bool ended = false;
    };
    static constexpr std::size_t STACK = 1 << 18;

    static void begun();

    std::vector<std::vector<char>> stacks;
    std::vector<Member> members;
    ucontext_t outside;
    Member* current = nullptr;
    void (*begin)(void*) = nullptr;
    void* given = nullptr;
};

inline Turns turns;

inline void Turns::begun() {
    turns.begin(turns.given);
    turns.current->ended = true;
}

inline void __syncthreads() { turns.wait(); }

template <class T> void atomicAdd(T* at, T value) { *at += value; }

/// Has every thread of a block do the work.
template <class Work> void run_block(int threads, Work work) { turns.run(threads, work); }

#endif

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
        run_block(threads, [=] { call(kernel, arguments, std::index_sequence_for<A...>{}); });
    }
}
