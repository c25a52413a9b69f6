"""Substitutes for a microscope: replay of scans as a microscope or as a detector, faults, a faulty network, data."""
