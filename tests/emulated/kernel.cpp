// The product's kernel as a library for the CPU.
#include "cuda.h"
#include "kernel.cu"

int emulated_features = 0;
float2 shared_memory[LINES * PITCH + 9 * P + THREADS];

extern "C" void run_loss_and_gradient(int blocks, int threads, void** arguments) {
    launch(loss_and_gradient, blocks, threads, arguments);
}
extern "C" void run_add_windows(int blocks, int threads, void** arguments) { launch(add_windows, blocks, threads, arguments); }
