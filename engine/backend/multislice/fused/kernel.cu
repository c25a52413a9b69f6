// Multislice loss and gradient, one pattern per block: the wave stays in shared memory from the probe to the detector and
// back (of a window too large for that, a strip of it at a time); what else leaves the chip are the waves that enter the
// slices (kept for the way back), the reads of object and pattern, and sums by atomic addition. Equations and names:
// engine/backend/multislice/problem.py; orders of pixels: fused/plan.py.
//
// Given by the compiler's command line, beside what transform.cuh wants: COUNTS (type of the recorded patterns), TINY_COUNTS,
// FEW_COUNTS, and the numbers of the data terms: AMPLITUDE, POISSON, INTENSITY, CHI_SQUARED (data_terms.py).
#include "transform.cuh"

constexpr int PIXELS = P * P;
constexpr float INVERSE = 1.0f / P;  // of a unitary transform: ours multiply by P

/// One addition of a pair where the card has it.
INLINE void add(float2* at, float2 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd(at, value);
#else
    atomicAdd(&at->x, value.x);
    atomicAdd(&at->y, value.y);
#endif
}

/// Loss of a pixel and dL/dI, weight left out.
INLINE float2 compared(int term, float offset, float intensity, float counts) {
    const float model = intensity + (offset + TINY_COUNTS);
    if (term == AMPLITUDE) {
        const float amplitude = sqrtf(model), difference = amplitude - sqrtf(counts + offset);
        return {difference * difference, difference / amplitude};
    }
    if (term == POISSON) {
        const float known = counts > 0 ? counts : 1;
        return {model - counts - counts * logf(model / known), 1 - counts / model};
    }
    const float difference = intensity - counts;
    if (term == INTENSITY) return {difference * difference, 2 * difference};
    if (term == CHI_SQUARED) {
        if (counts <= FEW_COUNTS) return {intensity, 1};
        return {0.5f * difference * difference / counts, difference / counts};
    }
    __trap();  // no other is known, and none is computed in its place
    return {};
}

/// Sum over the block's threads, known to thread 0.
INLINE float block_sum(float value, float* room) {
    const int me = threadIdx.x;
    room[me] = value;
    __syncthreads();
    for (int count = THREADS; count > 1;) {
        const int half = (count + 1) / 2;
        if (me + half < count) room[me] += room[me + half];
        __syncthreads();
        count = half;
    }
    const float sum = room[0];
    __syncthreads();
    return sum;
}

/// What stays the same for all patterns.
struct Fixed {
    int slices, probe_modes, object_modes, columns, object_pixels;
    int term;
    float offset;
    const float2 *object;                   // (modes * slices, Y * X)
    const float2 *probe;                    // (modes, P, P) over P
    const float2 *propagators;              // (slices - 1, P, P) over P^2
    const float *phase_per_A;               // (P, P)
    const float *weights, *background;      // (P, P); background or null
    const float *frequencies;               // (P,) in the order of Fourier space
    float2 *grad_object;                    // as the object
    float2 *grad_probe;                     // (modes, P, P) or null
    double *grad_background, *grad_distances;  // (P, P), (slices - 1,), or null
    float *grad_patterns;                   // (N, 3): shifts, current; or null
    __device__ int pairs() const { return probe_modes * object_modes; }
};

/// What a block keeps for one pattern.
struct Local {
    Window window;
    float2 *ramp_y, *ramp_x;         // in shared memory
    float2 *turn_y, *turn_x;         // there too: what moves the pattern over the detector; null where it lies in place
    float *room;
    float2 *waves;     // (pairs, slices, P, P): what enters each slice, real space
    float2 *entering;  // (pairs, slices - 1, P, P): the same in Fourier space over P, where distances are refined
    float2 *far;       // (pairs, P, P) far field times P, where there are several
    float *factor;     // (P, P) intensity, then dL/dI times what the far field is multiplied by
    size_t corner;     // of the object's window
};

/// Probe mode `mode` at this position in Fourier space, over P.
INLINE float2 incoming(const Fixed& f, const Local& l, int mode, int x, int y) {
    return f.probe[mode * PIXELS + x * P + y] * (l.ramp_y[y] * l.ramp_x[x]);
}

/// From the probe to the last slice's exit wave, its transform along y done.
INLINE void to_detector(const Fixed& f, const Local& l, int pair) {
    const int mode = pair % f.probe_modes, first = pair / f.probe_modes * f.slices;
    const bool turned = l.turn_y;
    visit_fourier_space<ENTER>(l.window, [&](float2, int x, int y) { return incoming(f, l, mode, x, y); });
    for (int z = 0; z < f.slices; ++z) {
        float2* const wave = l.waves + (size_t)(pair * f.slices + z) * PIXELS;
        const size_t slice = (size_t)(first + z) * f.object_pixels + l.corner;
        visit_real_space<true>(l.window, [&](float2 v, int y, int x) {
            wave[y * P + x] = v;
            v = v * f.object[slice + (size_t)y * f.columns + x];
            return turned && z == f.slices - 1 ? v * (l.turn_y[y] * l.turn_x[x]) : v;
        });
        if (z == f.slices - 1) break;
        const float2* const propagator = f.propagators + (size_t)z * PIXELS;
        float2* const kept = f.grad_distances ? l.entering + (size_t)(pair * (f.slices - 1) + z) * PIXELS : nullptr;
        visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
            v = v * propagator[x * P + y];
            if (kept) kept[x * P + y] = v;
            return v;
        });
    }
}

/// From the gradient behind the last slice (its transform along y to be done) back to the probe; sums of shifts and current.
INLINE void from_detector(const Fixed& f, const Local& l, int pair, float3& per_pattern) {
    const int mode = pair % f.probe_modes, first = pair / f.probe_modes * f.slices;
    const bool to_probe = f.grad_probe || f.grad_patterns, turned = l.turn_y;
    for (int z = f.slices - 1; z >= 0; --z) {
        const float2* const wave = l.waves + (size_t)(pair * f.slices + z) * PIXELS;
        const size_t slice = (size_t)(first + z) * f.object_pixels + l.corner;
        const auto at_slice = [&](float2 g, int y, int x) {
            const size_t pixel = slice + (size_t)y * f.columns + x;
            if (turned && z == f.slices - 1) g = g * conj(l.turn_y[y] * l.turn_x[x]);
            const float2 derivative = conj(wave[y * P + x]) * g;
            add(f.grad_object + pixel, derivative);
            return conj(f.object[pixel]) * g;
        };
        if (z == 0 && !to_probe) {
            visit_real_space<false>(l.window, at_slice);
            return;
        }
        visit_real_space<true>(l.window, at_slice);
        if (z == 0) break;
        const float2* const propagator = f.propagators + (size_t)(z - 1) * PIXELS;
        const float2* const entering = l.entering + (size_t)(pair * (f.slices - 1) + z - 1) * PIXELS;
        float turning = 0;
        visit_fourier_space<TURN>(l.window, [&](float2 g, int x, int y) {
            const int k = x * P + y;
            if (f.grad_distances) turning += (conj(g) * entering[k]).y * f.phase_per_A[k];
            return g * conj(propagator[k]);
        });
        if (f.grad_distances) {
            const float sum = block_sum(turning, l.room);
            if (threadIdx.x == 0) atomicAdd(f.grad_distances + z - 1, -(double)sum);
        }
    }
    visit_fourier_space<LEAVE>(l.window, [&](float2 g, int x, int y) {
        g = INVERSE * g;
        if (f.grad_probe) {
            add(f.grad_probe + mode * PIXELS + x * P + y, conj(l.ramp_y[y] * l.ramp_x[x]) * g);
        }
        if (f.grad_patterns) {
            const float2 overlap = float(P) * (conj(g) * incoming(f, l, mode, x, y));
            per_pattern.x += overlap.y * f.frequencies[y];
            per_pattern.y += overlap.y * f.frequencies[x];
            per_pattern.z += overlap.x;
        }
        return g;
    });
}

/// Where one modelled pattern meets the recorded one.
struct Detector {
    const Fixed& f;
    const COUNTS* counts;
    /// dL/dI times what turns the far field (times P) into its gradient (over P); the loss is added up.
    INLINE float factor(float intensity, int k, float& loss) const {
        if (f.background) intensity += f.background[k];
        const float2 term = compared(f.term, f.offset, intensity, float(counts[k]));
        const float weight = f.weights[k], derivative = weight * term.y;
        loss += weight * term.x;
        if (f.grad_background) atomicAdd(f.grad_background + k, (double)derivative);
        return 2 * INVERSE * INVERSE / f.object_modes * derivative;
    }
};

INLINE float power(float2 v) { return v.x * v.x + v.y * v.y; }

/// Forward and back with one probe mode and one object mode: the far field never leaves the chip.
INLINE float one_pair(const Fixed& f, const Local& l, const Detector& detector, float3& per_pattern) {
    float loss = 0;
    to_detector(f, l, 0);
    visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
        return detector.factor(power(INVERSE * v), x * P + y, loss) * v;
    });
    from_detector(f, l, 0, per_pattern);
    return loss;
}

/// Several: their intensities are added before they are compared. A pixel is every time the same thread's.
INLINE float all_pairs(const Fixed& f, const Local& l, const Detector& detector, float3& per_pattern) {
    float loss = 0;
    const int pairs = f.pairs();
    for (int pair = 0; pair < pairs; ++pair) {
        to_detector(f, l, pair);
        float2* const far = l.far + (size_t)pair * PIXELS;
        visit_fourier_space<LEAVE>(l.window, [&](float2 v, int x, int y) {
            const int k = x * P + y;
            far[k] = v;
            const float before = pair == 0 ? 0.0f : l.factor[k];
            const float intensity = before + power(INVERSE * v) / f.object_modes;
            l.factor[k] = pair == pairs - 1 ? detector.factor(intensity, k, loss) : intensity;
            return v;
        });
    }
    for (int pair = 0; pair < pairs; ++pair) {
        const float2* const far = l.far + (size_t)pair * PIXELS;
        visit_fourier_space<ENTER>(l.window, [&](float2, int x, int y) { return l.factor[x * P + y] * far[x * P + y]; });
        from_detector(f, l, pair, per_pattern);
    }
    return loss;
}

/// Loss of each of `chosen` patterns, and sums of gradients. Blocks take every gridDim.x-th pattern.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) loss_and_gradient(
    int count, const int* chosen, const COUNTS* patterns, const int* corners, const float* shifts, const float* offsets,
    const float* roots_of_current,
    int slices, int probe_modes, int object_modes, int rows, int columns, int term, float offset,
    const float2* object, const float2* probe, const float2* propagators, const float* phase_per_A,
    const float* weights, const float* background, const float* frequencies, const float2* roots,
    float2* scratch, long long scratch_of_block,
    float* losses, float2* grad_object, float2* grad_probe, float* grad_patterns, double* grad_background, double* grad_distances) {
    extern __shared__ float2 shared_memory[];
    const Fixed f = {slices, probe_modes, object_modes, columns, rows * columns, term, offset, object, probe,
                     propagators, phase_per_A, weights, background, frequencies, grad_object, grad_probe,
                     grad_background, grad_distances, grad_patterns};
    Local l;
    l.ramp_y = shared_memory + LINES * PITCH;
    l.ramp_x = l.ramp_y + P;
    float2* const table = l.ramp_x + P;
    l.turn_y = offsets ? table + P : nullptr;
    l.turn_x = offsets ? l.turn_y + P : nullptr;
    l.room = reinterpret_cast<float*>(table + 3 * P);
    float2* const kept = scratch + blockIdx.x * scratch_of_block;
    l.window = {shared_memory, kept, table};
    l.waves = kept + (WHOLE ? 0 : PIXELS);
    l.entering = l.waves + (size_t)f.pairs() * slices * PIXELS;
    l.far = l.entering + (grad_distances ? (size_t)f.pairs() * (slices - 1) * PIXELS : 0);
    l.factor = reinterpret_cast<float*>(l.far + (size_t)f.pairs() * PIXELS);
    for (int k = threadIdx.x; k < P; k += THREADS) table[k] = roots[k];
    for (int n = blockIdx.x; n < count; n += gridDim.x) {
        const int pattern = chosen[n];
        const float current = roots_of_current ? roots_of_current[pattern] : 1.0f;
        l.corner = (size_t)corners[2 * pattern] * columns + corners[2 * pattern + 1];
        for (int k = threadIdx.x; k < 2 * P; k += THREADS) {
            float2 turn;
            sincospif(-2 * frequencies[k % P] * shifts[2 * pattern + k / P], &turn.y, &turn.x);
            l.ramp_y[k] = (k < P ? current : 1.0f) * turn;  // ramp_x lies behind ramp_y
        }
        for (int k = threadIdx.x; offsets && k < 2 * P; k += THREADS) {  // turn_x lies behind turn_y
            sincospif(2 * INVERSE * (k % P) * offsets[2 * pattern + k / P], &l.turn_y[k].y, &l.turn_y[k].x);
        }
        __syncthreads();
        const Detector detector = {f, patterns + (size_t)pattern * PIXELS};
        float3 per_pattern = {0, 0, 0};
        const float part = f.pairs() == 1 ? one_pair(f, l, detector, per_pattern) : all_pairs(f, l, detector, per_pattern);
        const float loss = block_sum(part, l.room);
        if (threadIdx.x == 0) losses[n] = loss;
        if (grad_patterns) {
            const float to_shift = 6.283185307179586f;
            const float y = block_sum(per_pattern.x, l.room), x = block_sum(per_pattern.y, l.room);
            const float overlap = block_sum(per_pattern.z, l.room);
            if (threadIdx.x == 0) {
                float* const at = grad_patterns + 3 * pattern;
                atomicAdd(at, to_shift * y);
                atomicAdd(at + 1, to_shift * x);
                atomicAdd(at + 2, 0.5f * overlap / (current * current));
            }
        }
    }
}

/// Sum of `light` (P, P) laid at the corners of the chosen patterns.
extern "C" __global__ void __launch_bounds__(THREADS) add_windows(
    int count, const int* chosen, const int* corners, int columns, const float* light, float* total) {
    for (int n = blockIdx.x; n < count; n += gridDim.x) {
        const int* const corner = corners + 2 * chosen[n];
        for (int k = threadIdx.x; k < PIXELS; k += THREADS)
            atomicAdd(total + (size_t)(corner[0] + k / P) * columns + corner[1] + k % P, light[k]);
    }
}
