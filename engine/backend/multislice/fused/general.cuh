// What patterns may have of their own, or of an instrument that is more than the plain far field: tilts, aberrations, phase
// plates, probes, free space, lenses. Equations and names: engine/backend/multislice/forward/ (illumination, specimen,
// detection); phases come from there, as factors along the two axes. Compiled where GENERAL is 1; NEAR: patterns are images.
#pragma once

/// Null where there is nothing. n: a pattern's number in the launch; Fourier space in the kernel's order.
struct General {
    const int* first_probe;                         // (n,) first plane of its probe
    const float2 *entries, *exits;                  // (n, 2, P) in front of and behind the specimen, along y, x of real space
    const float2* spaces;                           // (n, slices - 1, 2, P) in free space, along y, x of Fourier space
    const float2 *lenses, *lens;                    // (n, 2, P) of a pattern's own, (P, P) over P^2 of all
    const float *aberrations, *rates;               // (n, aberrations), (aberrations, P, P): phase = their product, negative
    const float2* plates;                           // (n, P, P)
    const float* varied;                            // (n, components)
    const float2* components;                       // (components * varying modes, P, P) over P
    int aberration_count, component_count, varying_modes;
    double* grad_moments;                           // (n, SPACES + slices - 1, 3), rows as below; or null
    double* grad_aperture;                          // (n, aberrations + components), or null
    float2* grad_components;                        // as the components, or null

    /// What lies in the aperture plane of a pattern besides its probe.
    INLINE float2 plate(int n, int k) const {
        float2 made = {1, 0};
        if (rates) {
            float phase = 0;
            for (int j = 0; j < aberration_count; ++j) phase += aberrations[n * aberration_count + j] * rates[j * PIXELS + k];
            sincosf(-phase, &made.y, &made.x);
        }
        return plates ? made * plates[(size_t)n * PIXELS + k] : made;
    }

    /// A mode of a pattern's probe, from `probe`, the planes of all probes.
    INLINE float2 own_probe(const float2* probe, int n, int mode, int k) const {
        float2 made = probe[(size_t)(first_probe[n] + mode) * PIXELS + k];
        if (mode >= varying_modes) return made;
        for (int j = 0; j < component_count; ++j)
            made = made + varied[n * component_count + j] * components[(size_t)(j * varying_modes + mode) * PIXELS + k];
        return made;
    }
};

/// Rows of the moments: in front of the specimen, behind it, in the lens, in the first free space (arguments.py).
enum Moments { ENTRY, EXIT, IN_LENS, SPACES };

/// Factors along y and x into shared memory; whoever read what was there is done.
INLINE void load(float2* into, const float2* from) {
    for (int k = threadIdx.x; k < 2 * P; k += THREADS) into[k] = from[k];
    __syncthreads();
}
