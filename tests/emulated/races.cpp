// Runs the kernel on any numbers at all, for a sanitizer to watch: a missing barrier is a race between threads.
#include "kernel.cpp"

#include <random>

template <class T> std::vector<T> random_values(std::size_t count) {
    static std::mt19937 source(1);
    std::vector<T> values(count);
    for (auto& value : values) value = T(1 + source() % 5);
    return values;
}

/// A launch with everything asked for, or with nothing but the gradient of the object.
void run(int probe_modes, int object_modes, bool everything) {
    int count = 3, slices = 3, rows = P + 4, columns = P + 4, term = 0;
    float offset = 0.1f;
    const int planes = slices * object_modes, pairs = probe_modes * object_modes;
    std::vector<int> chosen = {2, 0, 1}, corners = {0, 1, 2, 3, 4, 0};
    auto patterns = random_values<COUNTS>(std::size_t(count) * PIXELS);
    auto shifts = random_values<float>(6), offsets = random_values<float>(6), currents = random_values<float>(3), frequencies = random_values<float>(P);
    auto object = random_values<float>(2 * std::size_t(planes) * rows * columns), weights = random_values<float>(PIXELS);
    auto phase = random_values<float>(PIXELS), background = random_values<float>(PIXELS);
    std::vector<float2> probe(std::size_t(probe_modes) * PIXELS, {1e-4f, 0}), propagators(2 * PIXELS, {1e-4f, 0}), roots(P, {1, 0});
    long long each = (long long)(pairs) * (2 * slices) * PIXELS + 2 * PIXELS;
    std::vector<float2> scratch(2 * std::size_t(each));
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
    launch(loss_and_gradient, 2, THREADS, arguments.data());
}

int main() {
    run(1, 1, true);
    run(2, 2, true);
    run(1, 1, false);
}
