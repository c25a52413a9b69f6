"""What a simulated scan is made of: specimen, probe, scan, detector, dose and the model that computes it."""
