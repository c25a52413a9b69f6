"""Calibration from the data themselves: disc, pixel size, rotation, transposition. Given values always win."""
