"""Simulated scans: object, probe, scan and detector, through the forward model of refinements."""
