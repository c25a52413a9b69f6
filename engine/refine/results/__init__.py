"""Progress and results of a refinement."""
