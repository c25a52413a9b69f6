"""Deep generative priors compared with the refinement of pixels."""
