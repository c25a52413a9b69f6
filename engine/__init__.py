"""Live maps, calibration and refinement: everything that computes. Knows nothing of networks or browsers."""
