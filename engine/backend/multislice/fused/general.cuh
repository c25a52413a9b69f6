// What patterns may have of their own, or of an instrument that is more than the plain far field: tilts, aberrations, phase
// plates, probes, free space, lenses. Equations and names: engine/backend/multislice/forward/ (illumination, specimen,
// detection); phases come from there, as factors along the two axes.
//
// Given by the compiler's command line: FEATURES, a sum of the numbers below (fused/plan.py), 0 for the plain far field, and
// GENERAL, 1 where it is not 0. What is not asked for is not compiled: of all of it a thread's registers hold a quarter.
#pragma once

/// Of a model: what its patterns have. Of a launch: what is refined, and which part of the way it goes.
enum Feature {
    SEVERAL_PROBES = 1,    // each pattern has one of them
    ENTRIES = 2,           // a tilt of the beam in front of the specimen
    EXITS = 4,             // a tilt or a shift behind it
    OWN_SPACES = 8,        // free space that is tilted, or longer for some patterns
    ABERRATIONS = 16,      // of each pattern, beside the probe's own
    PLATES = 32,           // phase plates
    VARIED = 64,           // components by which the probe varies
    NEAR_FIELD = 128,      // patterns are images
    MOMENTS = 256,         // tilts and free space are refined
    OF_APERTURE = 512,     // aberrations and what the probe varies by are refined
    TO_DETECTOR = 1024,    // up to the intensities, which somebody else compares
    FROM_DETECTOR = 2048,  // from what they made of these on
    BANDED = 4096,         // windows of the object, waves and far field have a band
    ANY = 8192,            // the launch has the parameters of all of these
};
INLINE bool has(int feature) { return FEATURES & feature; }  // a constant, so what it rules out costs nothing
INLINE float seen() { return has(NEAR_FIELD) ? 1.0f : INVERSE; }  // of a wave at the detector: an image has been transformed back

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
    const float* band;                              // (P, P) factor; that of waves is in their propagators, of images in the lens
    int aberration_count, component_count, varying_modes;
    double* grad_moments;                           // (n, IN_SPACES + slices - 1, 3), rows as below; or null
    double* grad_aperture;                          // (n, aberrations + components), or null
    float2* grad_components;                        // as the components, or null

    /// Number of a mode of a pattern's probe among those of all probes.
    INLINE size_t plane(int n, int mode) const { return has(SEVERAL_PROBES) ? first_probe[n] + mode : mode; }

    /// What lies in the aperture plane of a pattern besides its probe.
    INLINE float2 plate(int n, int k) const {
        float2 made = {1, 0};
        if (has(ABERRATIONS)) {
            float phase = 0;
            for (int j = 0; j < aberration_count; ++j) phase += aberrations[n * aberration_count + j] * rates[j * PIXELS + k];
            sincosf(-phase, &made.y, &made.x);
        }
        if (has(PLATES)) made = made * plates[(size_t)n * PIXELS + k];
        return made;
    }

    /// Factor of a frequency of the far field.
    INLINE float2 in_band(float2 v, int k) const { return has(BANDED) && !has(NEAR_FIELD) ? band[k] * v : v; }

    /// A mode of a pattern's probe, from `probe`, the planes of all probes.
    INLINE float2 own_probe(const float2* probe, int n, int mode, int k) const {
        float2 made = probe[plane(n, mode) * PIXELS + k];
        if (!has(VARIED)) return made;
        for (int j = 0; mode < varying_modes && j < component_count; ++j)
            made = made + varied[n * component_count + j] * components[(size_t)(j * varying_modes + mode) * PIXELS + k];
        return made;
    }
};

/// Rows of the moments: in front of the specimen, behind it, in the lens, in the first free space (arguments.py).
enum Moments { ENTRY, EXIT, IN_LENS, IN_SPACES };

/// Factors along y and x into shared memory. Whoever read what was there is done, and who TURNs in Fourier space meets the
/// others after the first pass, before it reads them.
INLINE void load(float2* into, const float2* from) {
    for (int k = threadIdx.x; k < 2 * P; k += THREADS) into[k] = from[k];
}
