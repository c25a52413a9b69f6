"""The fused CUDA kernel: multislice loss and gradient with a pattern's wave on the chip (``kernel.cu``)."""
