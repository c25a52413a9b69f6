"""A refinement gone on with after what its result shows."""
