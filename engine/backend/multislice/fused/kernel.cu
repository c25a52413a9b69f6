// Multislice loss and gradient, one pattern per block: the wave stays in shared memory from the probe to the detector and
// back (for windows too large for that, a strip of it at a time). The only other global-memory traffic is the waves entering
// the slices (kept for the way back), reads of object and pattern, and atomic additions to sums. Equations and names:
// engine/backend/multislice/problem.py; order of pixels: fused/plan.py.
//
// Defined on the compiler's command line, in addition to those of transform.cuh: COUNTS (type of the recorded patterns),
// TINY_COUNTS, FEW_COUNTS, the numbers of the data terms AMPLITUDE, POISSON, INTENSITY, CHI_SQUARED (data_terms.py), and
// FEATURES (general.cuh).
#include "waves.cuh"

/// Loss of a pixel and dL/dI, without the weight.
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
    __trap();  // unknown data term: fail rather than compute another one
    return {};
}

INLINE bool whole_way() { return !has(TO_DETECTOR | FROM_DETECTOR); }

/// Comparison of one modelled pattern with the recorded one.
struct Detector {
    const Fixed& f;
    const COUNTS* counts;
    /// dL/dI times the factor from far field (times P) to its gradient (over P), or from an image to its own; adds the loss.
    INLINE float factor(float intensity, int k, float& loss) const {
        if (f.background) intensity += f.background[k];
        const float2 term = compared(f.term, f.offset, intensity, float(counts[k]));
        const float weight = f.weights[k], derivative = weight * term.y;
        loss += weight * term.x;
        if (f.grad_background) atomicAdd(f.grad_background + k, (double)derivative);
        return 2 * seen() * seen() / f.object_modes * derivative;
    }
};

INLINE float power(float2 v) { return v.x * v.x + v.y * v.y; }

/// Forward and back with one probe mode and one object mode: the far field never leaves the chip.
INLINE float one_pair(const Fixed& f, const Local& l, const Detector& detector, float3& per_pattern) {
    float loss = 0;
    to_detector(f, l, 0);
    if (has(NEAR_FIELD))
        visit_real_space<TURN>(l.window, [&](float2 v, int y, int x) {
            return detector.factor(power(v), y * P + x, loss) * v;
        });
    else
        visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
            const int k = x * P + y;
            v = f.general.in_band(v, k);
            return f.general.in_band(detector.factor(power(INVERSE * v), k, loss) * v, k);
        });
    from_detector(f, l, 0, per_pattern);
    if (has(BANDED)) leave_windows(f, l, 0);
    return loss;
}

/// Several pairs of modes: their intensities are summed before the comparison, or returned if they are compared elsewhere.
/// A pixel is always handled by the same thread.
INLINE float far_fields(const Fixed& f, const Local& l, const Detector& detector) {
    float loss = 0;
    const int pairs = f.pairs();
    for (int pair = 0; pair < pairs; ++pair) {
        to_detector(f, l, pair);
        const auto add_intensity = [&](float2 v, int k) {
            const float before = pair == 0 ? 0.0f : l.factor[k];
            const float intensity = before + power(seen() * v) / f.object_modes;
            l.factor[k] = whole_way() && pair == pairs - 1 ? detector.factor(intensity, k, loss) : intensity;
        };
        float2* const far = l.far + (size_t)pair * PIXELS;
        if (has(NEAR_FIELD))
            visit_real_space<LEAVE>(l.window, [&](float2 v, int y, int x) {
                add_intensity(v, y * P + x);
                return v;
            });
        else
            visit_fourier_space<LEAVE>(l.window, [&](float2 v, int x, int y) {
                v = f.general.in_band(v, x * P + y);
                far[x * P + y] = v;
                add_intensity(v, x * P + y);
                return v;
            });
    }
    return loss;
}

/// Way back of the far fields, from `l.factor`.
INLINE void from_far_fields(const Fixed& f, const Local& l, float3& per_pattern) {
    for (int pair = 0; pair < f.pairs(); ++pair) {
        const float2* const far = l.far + (size_t)pair * PIXELS;
        if (has(NEAR_FIELD)) {
            visit_fourier_space<ENTER>(l.window, [&](float2, int x, int y) { return far[x * P + y]; });
            visit_real_space<TURN>(l.window, [&](float2 v, int y, int x) { return l.factor[y * P + x] * v; });
        } else
            visit_fourier_space<ENTER>(l.window, [&](float2, int x, int y) {
                const int k = x * P + y;
                return f.general.in_band(l.factor[k] * far[k], k);
            });
        from_detector(f, l, pair, per_pattern);
        if (has(BANDED) && pair % f.probe_modes == f.probe_modes - 1) leave_windows(f, l, pair / f.probe_modes * f.slices);
    }
}

/// Arguments of one launch.
struct Launch {
    int count;
    const int* chosen;
    const COUNTS* patterns;
    const int* corners;
    const float *shifts, *offsets, *roots_of_current;
    const float2* roots;
    float2* scratch;
    long long scratch_each;  // per block or, in two stages, per pattern
    float* losses;
    float* intensities;  // (count, P, P), in two stages
};

/// Set up a pattern's working memory on the chip.
INLINE Local placed(const Fixed& f, const Launch& launch) {
    extern __shared__ float2 shared_memory[];
    Local l;
    l.ramp_y = shared_memory + LINES * PITCH;
    l.ramp_x = l.ramp_y + P;
    float2* const table = l.ramp_x + P;
    l.turn_y = has(EXITS) || launch.offsets ? table + P : nullptr;
    l.turn_x = table + 2 * P;
    l.entry_y = table + 3 * P;
    l.entry_x = table + 4 * P;
    l.space_y = table + 5 * P;
    l.space_x = table + 6 * P;
    l.room = reinterpret_cast<float*>(table + (GENERAL ? 7 : 3) * P);
    l.window = {shared_memory, nullptr, table};
    return l;
}

/// Set up a pattern's working memory in global memory.
INLINE void place_scratch(const Fixed& f, const Launch& launch, Local& l, int number) {
    float2* const kept = launch.scratch + number * launch.scratch_each;
    const size_t spaces = has(MOMENTS) || f.grad_distances ? f.slices - 1 : 0;
    l.window.memory = kept;
    l.waves = kept + (WHOLE ? 0 : PIXELS);
    l.entering = l.waves + (size_t)f.pairs() * f.slices * PIXELS;
    l.far = l.entering + f.pairs() * spaces * PIXELS;
    l.factor = reinterpret_cast<float*>(l.far + (size_t)f.pairs() * PIXELS);
    l.left = l.far + (size_t)f.pairs() * PIXELS + PIXELS / 2;
    l.overlap = reinterpret_cast<float*>(l.left + PIXELS);
    l.windows = l.left + (has(OF_APERTURE) ? PIXELS + PIXELS / 2 : 0);
    l.pulled = l.windows + (size_t)f.object_modes * f.slices * PIXELS;
}

/// Add a pattern's sums for shifts and beam current to the gradient.
INLINE void add_per_pattern(const Fixed& f, const Local& l, int pattern, float current, float3 sums) {
    const float to_shift = 6.283185307179586f;
    const float y = block_sum(sums.x, l.room), x = block_sum(sums.y, l.room), overlap = block_sum(sums.z, l.room);
    if (threadIdx.x != 0) return;
    float* const at = f.grad_patterns + 3 * pattern;
    atomicAdd(at, to_shift * y);
    atomicAdd(at + 1, to_shift * x);
    atomicAdd(at + 2, 0.5f * overlap / (current * current));
}

/// Process every gridDim.x-th pattern in a block.
INLINE void each_pattern(const Fixed& f, const Launch& launch) {
    Local l = placed(f, launch);
    place_scratch(f, launch, l, blockIdx.x);
    float2* const table = const_cast<float2*>(l.window.roots);
    for (int k = threadIdx.x; k < P; k += THREADS) table[k] = launch.roots[k];
    for (int n = blockIdx.x; n < launch.count; n += gridDim.x) {
        const int pattern = launch.chosen[n];
        const float current = launch.roots_of_current ? launch.roots_of_current[pattern] : 1.0f;
        l.n = n;
        l.corner = (size_t)launch.corners[2 * pattern] * f.columns + launch.corners[2 * pattern + 1];
        for (int k = threadIdx.x; k < 2 * P; k += THREADS) {
            float2 turn;
            sincospif(-2 * f.frequencies[k % P] * launch.shifts[2 * pattern + k / P], &turn.y, &turn.x);
            l.ramp_y[k] = (k < P ? current : 1.0f) * turn;  // ramp_x follows ramp_y in memory
            if (has(ENTRIES)) l.entry_y[k] = f.general.entries[(size_t)n * 2 * P + k];
            if (has(EXITS))
                l.turn_y[k] = f.general.exits[(size_t)n * 2 * P + k];
            else if (l.turn_y)  // turn_x follows turn_y in memory
                sincospif(2 * INVERSE * (k % P) * launch.offsets[2 * pattern + k / P], &l.turn_y[k].y, &l.turn_y[k].x);
        }
        __syncthreads();
        if (!whole_way()) {
            place_scratch(f, launch, l, n);
            l.factor = launch.intensities + (size_t)n * PIXELS;
        }
        const Detector detector = {f, launch.patterns + (size_t)pattern * PIXELS};
        float3 per_pattern = {0, 0, 0};
        float part = 0;
        if (has(BANDED) && !has(FROM_DETECTOR)) see_windows(f, l);
        if (whole_way() && f.pairs() == 1)
            part = one_pair(f, l, detector, per_pattern);
        else {
            if (!has(FROM_DETECTOR)) part = far_fields(f, l, detector);
            if (has(TO_DETECTOR)) continue;
            from_far_fields(f, l, per_pattern);
        }
        const float loss = block_sum(part, l.room);
        if (threadIdx.x == 0) launch.losses[n] = loss;
        if (f.grad_patterns) add_per_pattern(f, l, pattern, current, per_pattern);
    }
}

#if GENERAL
#define WITH_GENERAL(...) , __VA_ARGS__
#else
#define WITH_GENERAL(...)
#endif

/// Loss of each of the `chosen` patterns, and sums of gradients.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) loss_and_gradient(
    int count, const int* chosen, const COUNTS* patterns, const int* corners, const float* shifts, const float* offsets,
    const float* roots_of_current,
    int slices, int probe_modes, int object_modes, int rows, int columns, int term, float offset,
    const float2* object, const float2* probe, const float2* propagators, const float* phase_per_A,
    const float* weights, const float* background, const float* frequencies, const float2* roots,
    float2* scratch, long long scratch_each,
    float* losses, float2* grad_object, float2* grad_probe, float* grad_patterns, double* grad_background, double* grad_distances
    WITH_GENERAL(
        float* intensities, const int* first_probe, const float2* entries, const float2* exits, const float2* spaces,
        const float2* lenses, const float2* lens, const float* aberrations, const float* rates, const float2* plates,
        const float* varied, const float2* components, const float* band, int aberration_count, int component_count, int varying_modes,
        double* grad_moments, double* grad_aperture, float2* grad_components)) {
    Fixed f = {slices, probe_modes, object_modes, columns, rows * columns, term, offset, object, probe,
               propagators, phase_per_A, weights, background, frequencies, grad_object, grad_probe,
               grad_background, grad_distances, grad_patterns, {}};
    Launch launch = {count, chosen, patterns, corners, shifts, offsets, roots_of_current, roots, scratch, scratch_each, losses,
                     nullptr};
#if GENERAL
    launch.intensities = intensities;
    f.general = {first_probe, entries, exits, spaces, lenses, lens, aberrations, rates, plates, varied, components, band,
                 aberration_count, component_count, varying_modes, grad_moments, grad_aperture, grad_components};
#endif
    each_pattern(f, launch);
}

/// Add `light` (P, P) to `total` in the windows of the chosen patterns.
extern "C" __global__ void __launch_bounds__(THREADS) add_windows(
    int count, const int* chosen, const int* corners, int columns, const float* light, float* total) {
    for (int n = blockIdx.x; n < count; n += gridDim.x) {
        const int* const corner = corners + 2 * chosen[n];
        for (int k = threadIdx.x; k < PIXELS; k += THREADS)
            atomicAdd(total + (size_t)(corner[0] + k / P) * columns + corner[1] + k % P, light[k]);
    }
}
