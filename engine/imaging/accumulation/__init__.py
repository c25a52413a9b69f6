"""Frames to reduced numbers, and reduced numbers kept for a scan, in memory or in scratch files."""
