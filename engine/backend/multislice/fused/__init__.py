"""The fused CUDA kernel: multislice loss and gradient with each pattern's wave in shared memory (``kernel.cu``)."""
