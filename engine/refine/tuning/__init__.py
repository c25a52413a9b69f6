"""Settings determined by short trials: data term, probe modes, tilt, calibration values, the start."""
