// Fourier transform of one P x P window in the shared memory of its block: the whole window or, if it is too large, a strip of
// rows or columns at a time. All work along one axis (transform back, change, transform forward) is done on a strip in one go;
// between these steps the window is in the block's share of global memory.
//
// Forward by decimation in frequency (natural order in, digit-reversed order out), back by decimation in time (digit-reversed
// in, natural out): every butterfly writes where it read, so nothing is reordered and a pass needs one barrier. Factors used
// in Fourier space (probe, propagators, patterns) are stored digit-reversed beforehand (fused/plan.py).
//
// Neighbouring threads work on neighbouring lines: along y on neighbouring columns, along x on neighbouring rows, which are an
// odd number of elements apart. Either way there are no bank conflicts, at any stride of any pass.
//
// Defined on the compiler's command line: WINDOW (P), STRIP (lines in shared memory at a time, P for all), THREADS,
// BLOCKS (resident blocks per multiprocessor, which bounds the registers), RADICES (radices of the passes, first to last).
#pragma once

// Always inlined: a real call would put its values in memory, as arrays in registers cannot be passed.
#define INLINE __device__ __forceinline__

constexpr int P = WINDOW;
constexpr int LINES = STRIP;
constexpr bool WHOLE = LINES == P;
constexpr int PITCH = P + 1;                             // from one row to the next
constexpr int COLUMN_PITCH = WHOLE ? PITCH : LINES;      // the same in a strip of columns
constexpr int RADIX[] = {RADICES};
constexpr int PASSES = sizeof(RADIX) / sizeof(int);
constexpr int LAST = PASSES - 1;

enum Axis { ALONG_X, ALONG_Y };
enum Direction { FORWARD, BACK };

INLINE float2 operator+(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
INLINE float2 operator-(float2 a, float2 b) { return {a.x - b.x, a.y - b.y}; }
INLINE float2 operator*(float s, float2 a) { return {s * a.x, s * a.y}; }
INLINE float2 operator*(float2 a, float2 b) { return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x}; }
INLINE float2 conj(float2 a) { return {a.x, -a.y}; }

/// Length of the sub-transforms that pass `pass` splits.
__device__ constexpr int length_of(int pass) {
    int length = P;
    for (int k = 0; k < pass; ++k) length /= RADIX[k];
    return length;
}

// Constants inside a butterfly: cosine and sine by their series, evaluated at compile time.
__device__ constexpr double series(double angle, int first) {
    double term = first ? angle : 1, sum = term;
    for (int k = first + 2; k < 40; k += 2) sum += term *= -angle * angle / (k * (k - 1));
    return sum;
}
__device__ constexpr double angle_of(int step, int steps) {
    return 6.283185307179586476925 * (2 * step > steps ? step - steps : step) / steps;
}
template <int STEP, int STEPS> struct Root {  // exp(-2 pi i STEP / STEPS)
    static constexpr float x = float(series(angle_of(STEP, STEPS), 0));
    static constexpr float y = float(-series(angle_of(STEP, STEPS), 1));
};

template <int N> struct Index {
    static constexpr int value = N;
};
/// Call f(Index<0>), ... f(Index<N - 1>): a loop whose counter is a constant.
template <int N, int K = 0, class F> INLINE void repeat(F f) {
    if constexpr (K < N) {
        f(Index<K>{});
        repeat<N, K + 1>(f);
    }
}

template <Direction WAY> INLINE float2 quarter(float2 a) {  // times -i forward, times i back
    return WAY == FORWARD ? float2{a.y, -a.x} : float2{-a.y, a.x};
}

__device__ constexpr int factor_of(int n) { return n % 4 == 0 ? 4 : n % 3 == 0 ? 3 : 2; }

/// Transform of N values in registers, natural order in and out.
template <int N, Direction WAY> INLINE void butterfly(float2 (&v)[N]) {
    if constexpr (N == 2) {
        const float2 a = v[0], b = v[1];
        v[0] = a + b;
        v[1] = a - b;
    } else if constexpr (N == 3) {
        const float2 sum = v[1] + v[2], turned = -Root<1, 3>::y * quarter<WAY>(v[1] - v[2]);
        const float2 rest = v[0] - 0.5f * sum;
        v[0] = v[0] + sum;
        v[1] = rest + turned;
        v[2] = rest - turned;
    } else if constexpr (N == 4) {
        const float2 a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = quarter<WAY>(v[1] - v[3]);
        v[0] = a + c;
        v[1] = b + d;
        v[2] = a - c;
        v[3] = b - d;
    } else if constexpr (N > 4) {
        constexpr int A = factor_of(N), B = N / A;  // B transforms of A values, twiddles, A transforms of B values
        float2 part[B][A];
        repeat<B>([&](auto b) {
            constexpr int column = decltype(b)::value;
            repeat<A>([&](auto a) { part[column][decltype(a)::value] = v[column + decltype(a)::value * B]; });
            butterfly<A, WAY>(part[column]);
            repeat<A>([&](auto a) {
                constexpr int k = decltype(a)::value;
                using Twiddle = Root<column * k % N, N>;
                if constexpr (column * k > 0)
                    part[column][k] = part[column][k] * float2{Twiddle::x, WAY == FORWARD ? Twiddle::y : -Twiddle::y};
            });
        });
        repeat<A>([&](auto a) {
            constexpr int k = decltype(a)::value;
            float2 line[B];
            repeat<B>([&](auto b) { line[decltype(b)::value] = part[decltype(b)::value][k]; });
            butterfly<B, WAY>(line);
            repeat<B>([&](auto b) { v[k + A * decltype(b)::value] = line[decltype(b)::value]; });
        });
    }
}

/// Positions of the values of a butterfly: `line` is the row or column, the values are at base + k * STRIDE along it.
template <int PASS> struct Place {
    static constexpr int R = RADIX[PASS], LENGTH = length_of(PASS), STRIDE = LENGTH / R, COUNT = LINES * (P / R);
    int line, step, base;
    __device__ explicit Place(int work) : line(work % LINES) {
        const int butterfly = work / LINES;
        step = butterfly % STRIDE;
        base = butterfly / STRIDE * LENGTH + step;
    }
    __device__ int position(int k) const { return base + k * STRIDE; }
    template <Axis AXIS> __device__ int address(int k) const {
        return AXIS == ALONG_Y ? position(k) * COLUMN_PITCH + line : line * PITCH + position(k);
    }
};

/// Multiply the values of a butterfly by the twiddles of a pass (conjugate: undo it); roots: exp(-2 pi i n / P), n < P.
template <int PASS, Direction WAY> INLINE void twiddle(float2 (&v)[RADIX[PASS]], int step, const float2* roots) {
    if constexpr (PASS < LAST) {
        repeat<RADIX[PASS]>([&](auto q) {
            constexpr int k = decltype(q)::value;
            if constexpr (k > 0) {
                const float2 root = roots[step * k * (P / length_of(PASS))];
                v[k] = v[k] * (WAY == FORWARD ? root : conj(root));
            }
        });
    }
}

/// One pass in place.
template <int PASS, Axis AXIS, Direction WAY> INLINE void pass(float2* tile, const float2* roots) {
    constexpr int R = RADIX[PASS];
    for (int work = threadIdx.x; work < Place<PASS>::COUNT; work += THREADS) {
        const Place<PASS> at(work);
        float2 v[R];
        repeat<R>([&](auto k) { v[decltype(k)::value] = tile[at.template address<AXIS>(decltype(k)::value)]; });
        if constexpr (WAY == BACK) twiddle<PASS, BACK>(v, at.step, roots);
        butterfly<R, WAY>(v);
        if constexpr (WAY == FORWARD) twiddle<PASS, FORWARD>(v, at.step, roots);
        repeat<R>([&](auto k) { tile[at.template address<AXIS>(decltype(k)::value)] = v[decltype(k)::value]; });
    }
    __syncthreads();
}

/// Passes FIRST to LAST along an axis, in the order of their direction.
template <Axis AXIS, Direction WAY, int FIRST, int LAST_ONE> INLINE void passes(float2* tile, const float2* roots) {
    if constexpr (FIRST <= LAST_ONE) {
        constexpr int NOW = WAY == FORWARD ? FIRST : LAST_ONE;
        pass<NOW, AXIS, WAY>(tile, roots);
        if constexpr (WAY == FORWARD) passes<AXIS, WAY, FIRST + 1, LAST_ONE>(tile, roots);
        else passes<AXIS, WAY, FIRST, LAST_ONE - 1>(tile, roots);
    }
}

enum Visit { ENTER, TURN, LEAVE };

/// In real space: the first pass along y back (except for ENTER), change(value, pixel y, line), the same pass forward (except
/// for LEAVE). With ENTER there is no value before; with LEAVE the window keeps none afterwards.
template <Visit VISIT, class Change> INLINE void in_real_space(float2* tile, const float2* roots, Change change) {
    constexpr int R = RADIX[0];
    for (int work = threadIdx.x; work < Place<0>::COUNT; work += THREADS) {
        const Place<0> at(work);
        float2 v[R];
        repeat<R>([&](auto k) {
            v[decltype(k)::value] = VISIT == ENTER ? float2{} : tile[at.template address<ALONG_Y>(decltype(k)::value)];
        });
        if constexpr (VISIT != ENTER) {
            twiddle<0, BACK>(v, at.step, roots);
            butterfly<R, BACK>(v);
        }
        repeat<R>([&](auto k) {
            v[decltype(k)::value] = change(v[decltype(k)::value], at.position(decltype(k)::value), at.line);
        });
        if constexpr (VISIT != LEAVE) {
            butterfly<R, FORWARD>(v);
            twiddle<0, FORWARD>(v, at.step, roots);
            repeat<R>([&](auto k) { tile[at.template address<ALONG_Y>(decltype(k)::value)] = v[decltype(k)::value]; });
        }
    }
    __syncthreads();
}

/// In Fourier space: the last pass along x forward (except for ENTER), change(value, index x * P + y), the same pass back
/// (except for LEAVE). With ENTER there is no value before; with LEAVE the window keeps none afterwards.
template <Visit VISIT, class Change> INLINE void in_fourier_space(float2* tile, Change change) {
    constexpr int R = RADIX[LAST];
    for (int work = threadIdx.x; work < Place<LAST>::COUNT; work += THREADS) {
        const Place<LAST> at(work);
        float2 v[R];
        repeat<R>([&](auto k) {
            v[decltype(k)::value] = VISIT == ENTER ? float2{} : tile[at.template address<ALONG_X>(decltype(k)::value)];
        });
        if constexpr (VISIT != ENTER) butterfly<R, FORWARD>(v);
        repeat<R>([&](auto k) {
            v[decltype(k)::value] = change(v[decltype(k)::value], at.position(decltype(k)::value), at.line);
        });
        if constexpr (VISIT != LEAVE) {
            butterfly<R, BACK>(v);
            repeat<R>([&](auto k) { tile[at.template address<ALONG_X>(decltype(k)::value)] = v[decltype(k)::value]; });
        }
    }
    __syncthreads();
}

/// A window: in shared memory (`tile`), or a strip of it there and the whole window in global memory.
struct Window {
    float2 *tile, *memory;
    const float2* roots;
};

/// Move a strip of lines, from `first` on, into shared memory (IN) or back.
template <Axis AXIS, bool IN> INLINE void move(const Window& w, int first) {
    for (int work = threadIdx.x; work < LINES * P; work += THREADS) {
        const int y = AXIS == ALONG_X ? work / P : work / LINES, x = AXIS == ALONG_X ? work % P : work % LINES;
        float2& here = w.tile[AXIS == ALONG_X ? y * PITCH + x : y * COLUMN_PITCH + x];
        float2& there = w.memory[AXIS == ALONG_X ? (first + y) * P + x : y * P + first + x];
        if constexpr (IN) here = there;
        else there = here;
    }
    __syncthreads();
}

/// All of Fourier space: forward along x (except for ENTER), change(value, index x, index y), back along x (except LEAVE).
template <Visit VISIT, class Change> INLINE void visit_fourier_space(const Window& w, Change change) {
    for (int first = 0; first < P; first += LINES) {
        if constexpr (!WHOLE && VISIT != ENTER) move<ALONG_X, true>(w, first);
        if constexpr (VISIT != ENTER) passes<ALONG_X, FORWARD, 0, LAST - 1>(w.tile, w.roots);
        in_fourier_space<VISIT>(w.tile, [&](float2 v, int x, int line) { return change(v, x, first + line); });
        if constexpr (VISIT != LEAVE) passes<ALONG_X, BACK, 0, LAST - 1>(w.tile, w.roots);
        if constexpr (!WHOLE && VISIT != LEAVE) move<ALONG_X, false>(w, first);
    }
}

/// All of real space: back along y (except for ENTER), change(value, pixel y, pixel x), forward along y (except LEAVE).
template <Visit VISIT, class Change> INLINE void visit_real_space(const Window& w, Change change) {
    for (int first = 0; first < P; first += LINES) {
        if constexpr (!WHOLE && VISIT != ENTER) move<ALONG_Y, true>(w, first);
        if constexpr (VISIT != ENTER) passes<ALONG_Y, BACK, 1, LAST>(w.tile, w.roots);
        in_real_space<VISIT>(w.tile, w.roots, [&](float2 v, int y, int line) { return change(v, y, first + line); });
        if constexpr (VISIT != LEAVE) passes<ALONG_Y, FORWARD, 1, LAST>(w.tile, w.roots);
        if constexpr (!WHOLE && VISIT != LEAVE) move<ALONG_Y, false>(w, first);
    }
}
