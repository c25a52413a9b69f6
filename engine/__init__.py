"""Live maps, calibration and refinement: all computation. Independent of networks and browsers."""
