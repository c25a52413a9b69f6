"""The compiled receive loop: numba on the libzmq that pyzmq brings along. numba is imported here and nowhere else."""
