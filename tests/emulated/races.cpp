// Runs the kernel on any numbers at all, for a sanitizer to watch: a missing barrier is a race between threads.
#define THREADS_OF_THE_SYSTEM
#include "kernel.cpp"

#include <random>

template <class T> std::vector<T> random_values(std::size_t count) {
    static std::mt19937 source(1);
    std::vector<T> values(count);
    for (auto& value : values) value = T(1 + source() % 5);
    return values;
}

/// A launch with everything asked for, or with nothing but the gradient of the object; features: of a general kernel.
void run(int probe_modes, int object_modes, bool everything, int features = 0) {
    int count = 3, slices = 3, rows = P + 4, columns = P + 4, term = 0;
    float offset = 0.1f;
    const int planes = slices * object_modes, pairs = probe_modes * object_modes;
    std::vector<int> chosen = {2, 0, 1}, corners = {0, 1, 2, 3, 4, 0};
    auto patterns = random_values<COUNTS>(std::size_t(count) * PIXELS);
    auto shifts = random_values<float>(6), offsets = random_values<float>(6), currents = random_values<float>(3), frequencies = random_values<float>(P);
    auto object = random_values<float>(2 * std::size_t(planes) * rows * columns), weights = random_values<float>(PIXELS);
    auto phase = random_values<float>(PIXELS), background = random_values<float>(PIXELS);
    std::vector<float2> probe(std::size_t(probe_modes) * PIXELS, {1e-4f, 0}), propagators(2 * PIXELS, {1e-4f, 0}), roots(P, {1, 0});
    long long each = (long long)(pairs) * (2 * slices + 1) * PIXELS + (2 * planes + 4) * PIXELS;
    std::vector<float2> scratch(count * std::size_t(each));  // of patterns, or of fewer blocks
    std::vector<float> losses(3), grad_object(object.size()), grad_patterns(9);
    std::vector<float2> grad_probe(probe.size());
    std::vector<double> grad_background(PIXELS), grad_distances(2);
    const auto wanted = [everything](auto& values) -> void* { return everything ? values.data() : nullptr; };
    void *of_patterns[] = {chosen.data(), patterns.data(), corners.data(), shifts.data(), wanted(offsets), wanted(currents)};
    void *of_model[] = {object.data(), probe.data(), propagators.data(), wanted(phase), weights.data(), wanted(background),
                        frequencies.data(), roots.data(), scratch.data()};
    void *sums[] = {losses.data(), grad_object.data(), wanted(grad_probe), wanted(grad_patterns), wanted(grad_background),
                    wanted(grad_distances)};
    std::vector<void*> arguments = {&count};
    for (auto& one : of_patterns) arguments.push_back(&one);
    for (void* number : {(void*)&slices, (void*)&probe_modes, (void*)&object_modes, (void*)&rows, (void*)&columns, (void*)&term})
        arguments.push_back(number);
    arguments.push_back(&offset);
    for (auto& one : of_model) arguments.push_back(&one);
    arguments.push_back(&each);
    for (auto& one : sums) arguments.push_back(&one);
#if GENERAL
    emulated_features = features;
    int aberration_count = 2, component_count = 2, varying_modes = 1;
    std::vector<int> first_probe(3, 0);
    const std::size_t along = std::size_t(count) * 2 * P, plane = PIXELS;
    std::vector<float2> entries(along, {1, 0}), exits = entries, lenses = entries, spaces(along * 2, {1, 0}), lens(plane, {1e-4f, 0});
    std::vector<float2> plates(count * plane, {1, 0}), components(2 * plane, {1e-4f, 0}), grad_components(2 * plane);
    auto intensities = random_values<float>(count * plane), aberrations = random_values<float>(6), rates = random_values<float>(2 * plane);
    auto varied = random_values<float>(6), band = random_values<float>(plane);
    std::vector<double> moments(count * 5 * 3), aperture(count * 4);
    void* of_general[] = {intensities.data(), first_probe.data(), entries.data(), exits.data(), spaces.data(), lenses.data(), lens.data(),
                          aberrations.data(), rates.data(), plates.data(), varied.data(), components.data(), band.data()};
    void* sums_of_general[] = {moments.data(), aperture.data(), grad_components.data()};
    for (auto& one : of_general) arguments.push_back(&one);
    for (int* number : {&aberration_count, &component_count, &varying_modes}) arguments.push_back(number);
    for (auto& one : sums_of_general) arguments.push_back(&one);
#endif
    launch(loss_and_gradient, 2, THREADS, arguments.data());
}

int main() {
#if GENERAL
    const int all = ANY | SEVERAL_PROBES | ENTRIES | EXITS | OWN_SPACES | ABERRATIONS | PLATES | VARIED | MOMENTS | OF_APERTURE | BANDED;
    for (int near : {0, int(NEAR_FIELD)}) {
        run(1, 1, true, all | near);
        run(2, 2, true, all | near);
        run(2, 1, false, (all & ~(MOMENTS | OF_APERTURE)) | near | TO_DETECTOR);
        run(2, 1, true, all | near | FROM_DETECTOR);
    }
#else
    run(1, 1, true);
    run(2, 2, true);
    run(1, 1, false);
#endif
}
