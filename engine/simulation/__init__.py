"""Scans that are computed: object, probe, scan and detector of a simulation, through the forward model of refinements."""
