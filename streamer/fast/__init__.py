"""The compiled receive loop: numba on the libzmq that pyzmq includes. numba is imported here and nowhere else."""
