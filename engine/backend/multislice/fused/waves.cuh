// One pattern's wave from its probe through the slices to the detector, and its gradient back: the work of one block.
// Equations and names: engine/backend/multislice/problem.py; order of pixels: fused/plan.py.
#pragma once
#include "transform.cuh"

constexpr int PIXELS = P * P;
constexpr float INVERSE = 1.0f / P;  // normalisation of a unitary transform: the ones here multiply by P

#include "general.cuh"

/// Add a pair atomically, in one operation where the card supports it.
INLINE void add(float2* at, float2 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd(at, value);
#else
    atomicAdd(&at->x, value.x);
    atomicAdd(&at->y, value.y);
#endif
}

/// Sum over the block's threads; only thread 0 gets the result.
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

/// Arguments that are the same for all patterns.
struct Fixed {
    int slices, probe_modes, object_modes, columns, object_pixels;
    int term;
    float offset;
    const float2 *object;                   // (modes * slices, Y * X)
    const float2 *probe;                    // (modes, P, P) over P, of all probes
    const float2 *propagators;              // (slices - 1, P, P) over P^2
    const float *phase_per_A;               // (P, P)
    const float *weights, *background;      // (P, P); background or null
    const float *frequencies;               // (P,) in the order of Fourier space
    float2 *grad_object;                    // shape of the object
    float2 *grad_probe;                     // (modes, P, P) or null
    double *grad_background, *grad_distances;  // (P, P), (slices - 1,), or null
    float *grad_patterns;                   // (N, 3): shifts, current; or null
    General general;
    __device__ int pairs() const { return probe_modes * object_modes; }
};

/// Working memory of a block for one pattern.
struct Local {
    Window window;
    float2 *ramp_y, *ramp_x;         // in shared memory
    float2 *turn_y, *turn_x;         // in shared memory: shift of the pattern on the detector; null if there is none
    float2 *entry_y, *entry_x;       // in shared memory: tilt in front of the specimen; null if there is none
    float2 *space_y, *space_x;       // in shared memory: the pattern's own factor of the current free space or lens
    float *room;
    float2 *waves;     // (pairs, slices, P, P): wave entering each slice, real space
    float2 *entering;  // (pairs, slices - 1, P, P): spectrum in free space over P, if free space is refined
    float2 *far;       // (pairs, P, P) far field times P, if there are several pairs; for an image, its spectrum over P
    float *factor;     // (P, P) intensity, then dL/dI times the factor of the far field
    float2 *left;      // (P, P) gradient of the probe, past everything else in the aperture plane
    float *overlap;    // (P, P) Im(conj(gradient) wave) in the aperture plane
    float2 *windows;   // (object modes * slices, P, P) the object in the pattern's window, band-limited
    float2 *pulled;    // (object modes * slices, P, P) their gradient
    size_t corner;     // of the window in the object
    int n;             // the pattern's number in the launch
};

/// Probe mode `mode` at this position, in Fourier space, over P.
INLINE float2 incoming(const Fixed& f, const Local& l, int mode, int x, int y) {
    const int k = x * P + y;
    const float2 ramp = l.ramp_y[y] * l.ramp_x[x];
    const float2 probe = f.general.own_probe(f.probe, l.n, mode, k);
    if (has(ABERRATIONS | PLATES)) return probe * f.general.plate(l.n, k) * ramp;
    return probe * ramp;
}

/// From the exit wave, transformed along y, to the image, transformed along y, through the lens; keeps the image's spectrum.
INLINE void through_lens(const Fixed& f, const Local& l, int pair) {
    float2* const far = l.far + (size_t)pair * PIXELS;
    load(l.space_y, f.general.lenses + (size_t)l.n * 2 * P);
    visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
        const int k = x * P + y;
        v = v * (f.general.lens[k] * (l.space_y[y] * l.space_x[x]));
        far[k] = v;
        return v;
    });
}

/// Band-limit a window; the caller's functions read and write it. The factor has the normalisation of both transforms.
template <class Read, class Write> INLINE void in_band(const Fixed& f, const Local& l, Read read, Write write) {
    visit_real_space<ENTER>(l.window, [&](float2, int y, int x) { return read(y, x); });
    visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
        return INVERSE * INVERSE * f.general.band[x * P + y] * v;
    });
    visit_real_space<LEAVE>(l.window, [&](float2 v, int y, int x) {
        write(v, y, x);
        return v;
    });
}

/// Fill `l.windows` with the pattern's window of every slice.
INLINE void see_windows(const Fixed& f, const Local& l) {
    for (int s = 0; s < f.object_modes * f.slices; ++s) {
        const float2* const slice = f.object + (size_t)s * f.object_pixels + l.corner;
        float2* const seen = l.windows + (size_t)s * PIXELS;
        in_band(f, l, [&](int y, int x) { return slice[(size_t)y * f.columns + x]; },
                [&](float2 v, int y, int x) { seen[y * P + x] = v; });
    }
}

/// Adjoint of see_windows: add `l.pulled` of an object mode to the gradient of its slices.
INLINE void leave_windows(const Fixed& f, const Local& l, int first) {
    for (int s = first; s < first + f.slices; ++s) {
        float2* const slice = f.grad_object + (size_t)s * f.object_pixels + l.corner;
        const float2* const pulled = l.pulled + (size_t)s * PIXELS;
        in_band(f, l, [&](int y, int x) { return pulled[y * P + x]; },
                [&](float2 v, int y, int x) { add(slice + (size_t)y * f.columns + x, v); });
    }
}

/// Transmission of a slice at a pixel of the window.
INLINE float2 transmission(const Fixed& f, const Local& l, int s, int y, int x) {
    return has(BANDED) ? l.windows[(size_t)s * PIXELS + y * P + x]
                       : f.object[(size_t)s * f.object_pixels + l.corner + (size_t)y * f.columns + x];
}

/// From the probe to the last slice's exit wave, with its transform along y already done.
INLINE void to_detector(const Fixed& f, const Local& l, int pair) {
    const int mode = pair % f.probe_modes, first = pair / f.probe_modes * f.slices;
    const bool turned = l.turn_y;
    visit_fourier_space<ENTER>(l.window, [&](float2, int x, int y) { return incoming(f, l, mode, x, y); });
    for (int z = 0; z < f.slices; ++z) {
        float2* const wave = l.waves + (size_t)(pair * f.slices + z) * PIXELS;
        visit_real_space<TURN>(l.window, [&](float2 v, int y, int x) {
            if (has(ENTRIES) && z == 0) v = v * (l.entry_y[y] * l.entry_x[x]);
            wave[y * P + x] = v;
            v = v * transmission(f, l, first + z, y, x);
            return turned && z == f.slices - 1 ? v * (l.turn_y[y] * l.turn_x[x]) : v;
        });
        if (z == f.slices - 1) break;
        const float2* const propagator = f.propagators + (size_t)z * PIXELS;
        const bool keeps = has(MOMENTS) || f.grad_distances;
        float2* const kept = keeps ? l.entering + (size_t)(pair * (f.slices - 1) + z) * PIXELS : nullptr;
        if (has(OWN_SPACES)) load(l.space_y, f.general.spaces + ((size_t)l.n * (f.slices - 1) + z) * 2 * P);
        visit_fourier_space<TURN>(l.window, [&](float2 v, int x, int y) {
            v = v * propagator[x * P + y];
            if (has(OWN_SPACES)) v = v * (l.space_y[y] * l.space_x[x]);
            if (kept) kept[x * P + y] = v;
            return v;
        });
    }
    if (has(NEAR_FIELD)) through_lens(f, l, pair);
}

/// Sum two or three numbers over the block's threads and add them to a row of the pattern's moments; `phase` comes first.
INLINE void add_moments(const Fixed& f, const Local& l, int row, float3 sums) {
    const float phase = block_sum(sums.x, l.room), y = block_sum(sums.y, l.room), x = block_sum(sums.z, l.room);
    if (threadIdx.x != 0) return;
    double* const at = f.general.grad_moments + ((size_t)l.n * (IN_SPACES + f.slices - 1) + row) * 3;
    at[0] += phase;
    at[1] += y;
    at[2] += x;
}

/// Adjoint of through_lens: from the image's gradient, transformed along y, to the gradient of the exit wave.
INLINE void back_through_lens(const Fixed& f, const Local& l, int pair) {
    const float2* const far = l.far + (size_t)pair * PIXELS;
    float3 sums = {0, 0, 0};
    load(l.space_y, f.general.lenses + (size_t)l.n * 2 * P);
    visit_fourier_space<TURN>(l.window, [&](float2 g, int x, int y) {
        const int k = x * P + y;
        if (has(MOMENTS)) {
            const float turning = (conj(g) * far[k]).y;
            sums.y += turning * f.frequencies[y];
            sums.z += turning * f.frequencies[x];
        }
        return g * conj(f.general.lens[k] * (l.space_y[y] * l.space_x[x]));
    });
    if (has(MOMENTS)) add_moments(f, l, IN_LENS, sums);
}

/// From `l.overlap` and `l.left` to the derivatives by aberrations and by the components of the varying probe.
INLINE void leave_aperture(const Fixed& f, const Local& l, int mode) {
    const General& g = f.general;
    const int aberrations = has(ABERRATIONS) ? g.aberration_count : 0;
    double* const at = g.grad_aperture + (size_t)l.n * (aberrations + g.component_count);
    for (int j = 0; j < aberrations; ++j) {
        float sum = 0;
        for (int k = threadIdx.x; k < PIXELS; k += THREADS) sum += l.overlap[k] * g.rates[j * PIXELS + k];
        sum = block_sum(sum, l.room);
        if (threadIdx.x == 0) at[j] += sum;
    }
    for (int j = 0; has(VARIED) && mode < g.varying_modes && j < g.component_count; ++j) {
        const size_t plane = (size_t)(j * g.varying_modes + mode) * PIXELS;
        const float value = g.varied[l.n * g.component_count + j];
        float sum = 0;
        for (int k = threadIdx.x; k < PIXELS; k += THREADS) {
            sum += float(P) * (conj(l.left[k]) * g.components[plane + k]).x;
            add(g.grad_components + plane + k, value * l.left[k]);
        }
        sum = block_sum(sum, l.room);
        if (threadIdx.x == 0) at[aberrations + j] += sum;
    }
}

/// From the gradient behind the last slice (its transform along y still to do) back to the probe; sums of shifts and current.
INLINE void from_detector(const Fixed& f, const Local& l, int pair, float3& per_pattern) {
    const int mode = pair % f.probe_modes, first = pair / f.probe_modes * f.slices;
    const bool to_probe = has(MOMENTS | OF_APERTURE) || f.grad_probe || f.grad_patterns, turned = l.turn_y;
    if (has(NEAR_FIELD)) back_through_lens(f, l, pair);
    for (int z = f.slices - 1; z >= 0; --z) {
        const float2* const wave = l.waves + (size_t)(pair * f.slices + z) * PIXELS;
        const size_t slice = (size_t)(first + z) * f.object_pixels + l.corner;
        float3 tilting = {0, 0, 0};
        const auto at_slice = [&](float2 g, int y, int x) {
            if (turned && z == f.slices - 1) g = g * conj(l.turn_y[y] * l.turn_x[x]);
            const float2 derivative = conj(wave[y * P + x]) * g;
            if (has(BANDED)) {
                float2& pulled = l.pulled[(size_t)(first + z) * PIXELS + y * P + x];
                pulled = mode == 0 ? derivative : pulled + derivative;
            } else
                add(f.grad_object + slice + (size_t)y * f.columns + x, derivative);
            g = conj(transmission(f, l, first + z, y, x)) * g;
            if (has(MOMENTS)) {
                const float turning = (conj(g) * wave[y * P + x]).y;
                tilting.y += turning * (y - P / 2);
                tilting.z += turning * (x - P / 2);
            }
            return has(ENTRIES) && z == 0 ? g * conj(l.entry_y[y] * l.entry_x[x]) : g;
        };
        if (z == 0 && !to_probe) {
            visit_real_space<LEAVE>(l.window, at_slice);
            return;
        }
        visit_real_space<TURN>(l.window, at_slice);
        if (has(MOMENTS) && z == f.slices - 1) add_moments(f, l, EXIT, tilting);
        if (has(MOMENTS) && z == 0) add_moments(f, l, ENTRY, tilting);
        if (z == 0) break;
        const float2* const propagator = f.propagators + (size_t)(z - 1) * PIXELS;
        const float2* const entering = l.entering + (size_t)(pair * (f.slices - 1) + z - 1) * PIXELS;
        float turning = 0;
        float3 spreading = {0, 0, 0};
        if (has(OWN_SPACES)) load(l.space_y, f.general.spaces + ((size_t)l.n * (f.slices - 1) + z - 1) * 2 * P);
        visit_fourier_space<TURN>(l.window, [&](float2 g, int x, int y) {
            const int k = x * P + y;
            if (f.grad_distances) turning += (conj(g) * entering[k]).y * f.phase_per_A[k];
            if (has(MOMENTS)) {
                const float turned_by = (conj(g) * entering[k]).y;
                spreading.x += turned_by * f.phase_per_A[k];
                spreading.y += turned_by * f.frequencies[y];
                spreading.z += turned_by * f.frequencies[x];
            }
            g = g * conj(propagator[k]);
            if (has(OWN_SPACES)) g = g * conj(l.space_y[y] * l.space_x[x]);
            return g;
        });
        if (has(MOMENTS)) add_moments(f, l, IN_SPACES + z - 1, spreading);
        if (f.grad_distances) {
            const float sum = block_sum(turning, l.room);
            if (threadIdx.x == 0) atomicAdd(f.grad_distances + z - 1, -(double)sum);
        }
    }
    visit_fourier_space<LEAVE>(l.window, [&](float2 g, int x, int y) {
        const int k = x * P + y;
        g = INVERSE * g;
        float2 of_probe = conj(l.ramp_y[y] * l.ramp_x[x]) * g;
        if (has(OF_APERTURE)) l.overlap[k] = float(P) * (conj(g) * incoming(f, l, mode, x, y)).y;
        if (has(ABERRATIONS | PLATES)) of_probe = conj(f.general.plate(l.n, k)) * of_probe;
        if (has(OF_APERTURE)) l.left[k] = of_probe;
        if (f.grad_probe) add(f.grad_probe + f.general.plane(l.n, mode) * PIXELS + k, of_probe);
        if (f.grad_patterns) {
            const float2 overlap = float(P) * (conj(g) * incoming(f, l, mode, x, y));
            per_pattern.x += overlap.y * f.frequencies[y];
            per_pattern.y += overlap.y * f.frequencies[x];
            per_pattern.z += overlap.x;
        }
        return g;
    });
    if (has(OF_APERTURE)) leave_aperture(f, l, mode);
}
