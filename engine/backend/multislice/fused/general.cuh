// Everything beyond the plain far field, of the instrument or of single patterns: tilts, aberrations, phase plates, probes,
// free space, lenses. Equations and names: engine/backend/multislice/forward/ (illumination, specimen, detection), which
// also provides the phases, as factors along the two axes.
//
// Defined on the compiler's command line: FEATURES, a sum of the numbers below (fused/plan.py), 0 for the plain far field, and
// GENERAL, 1 if FEATURES is not 0. Unused features are not compiled: a thread's registers hold only a quarter of all of them.
#pragma once

/// Features of the model and its patterns, and of a launch: what is refined, and which part of the evaluation it does.
enum Feature {
    SEVERAL_PROBES = 1,    // each pattern uses one of several probes
    ENTRIES = 2,           // a tilt of the beam in front of the specimen
    EXITS = 4,             // a tilt or a shift behind the specimen
    OWN_SPACES = 8,        // free space that is tilted, or longer for some patterns
    ABERRATIONS = 16,      // per pattern, in addition to the probe's own
    PLATES = 32,           // phase plates
    VARIED = 64,           // components by which the probe varies
    NEAR_FIELD = 128,      // patterns are images
    MOMENTS = 256,         // tilts and free space are refined
    OF_APERTURE = 512,     // aberrations and components of the varying probe are refined
    TO_DETECTOR = 1024,    // up to the intensities, which are compared elsewhere
    FROM_DETECTOR = 2048,  // from the result of that comparison on
    BANDED = 4096,         // windows of the object, waves and far field are band-limited
    ANY = 8192,            // the launch has the parameters of all features
};
INLINE bool has(int feature) { return FEATURES & feature; }  // a constant, so unused branches cost nothing
INLINE float seen() { return has(NEAR_FIELD) ? 1.0f : INVERSE; }  // factor of a wave at the detector (an image is back in real space)

/// Pointers are null for absent features. n: a pattern's number in the launch; Fourier space in the kernel's order.
struct General {
    const int* first_probe;                         // (n,) first plane of its probe
    const float2 *entries, *exits;                  // (n, 2, P) in front of and behind the specimen, along y, x of real space
    const float2* spaces;                           // (n, slices - 1, 2, P) in free space, along y, x of Fourier space
    const float2 *lenses, *lens;                    // (n, 2, P) a pattern's own factors, (P, P) over P^2 common factor
    const float *aberrations, *rates;               // (n, aberrations), (aberrations, P, P): phase = their product, negative
    const float2* plates;                           // (n, P, P)
    const float* varied;                            // (n, components)
    const float2* components;                       // (components * varying modes, P, P) over P
    const float* band;                              // (P, P) factor; waves have it in their propagators, images in the lens
    int aberration_count, component_count, varying_modes;
    double* grad_moments;                           // (n, IN_SPACES + slices - 1, 3), rows as below; or null
    double* grad_aperture;                          // (n, aberrations + components), or null
    float2* grad_components;                        // shape of the components, or null

    /// Index of a mode of a pattern's probe among the modes of all probes.
    INLINE size_t plane(int n, int mode) const { return has(SEVERAL_PROBES) ? first_probe[n] + mode : mode; }

    /// Factor in the aperture plane of a pattern, apart from its probe.
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

    /// Apply the band limit to a frequency of the far field.
    INLINE float2 in_band(float2 v, int k) const { return has(BANDED) && !has(NEAR_FIELD) ? band[k] * v : v; }

    /// A mode of a pattern's probe; `probe` holds the planes of all probes.
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

/// Load factors along y and x into shared memory. All threads have finished reading the previous ones by then, and a TURN
/// in Fourier space has a barrier after its first pass, before it reads the new ones.
INLINE void load(float2* into, const float2* from) {
    for (int k = threadIdx.x; k < 2 * P; k += THREADS) into[k] = from[k];
}
