"""Substitutes for a microscope: replay of recorded scans, and faults for the replay."""
