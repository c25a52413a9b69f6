"""Decisions about specimens that may have depth: thickness, worth of slices, absorption, anchor, orientations."""
