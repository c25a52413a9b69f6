"""Search directions and descent: sweeps over mini-batches, L-BFGS, line search, PyPty's backtracking."""
