"""Deep generative priors beside the refinement of pixels."""
