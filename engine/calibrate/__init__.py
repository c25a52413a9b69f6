"""Calibration from the data: disc, pixel size, rotation, transposition. Given values always take precedence."""
