"""Components of a simulated scan: specimen, probe, scan, detector, dose and the model that computes it."""
