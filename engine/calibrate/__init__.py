"""Calibration from the data: disc, bad pixels, descan, orientation, aberrations. Given values take precedence."""
