"""Everything of the forward model on the compiled kernel."""
