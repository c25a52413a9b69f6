"""All features of the forward model on the compiled kernel."""
