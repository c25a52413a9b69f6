"""Deep generative priors: object and probe as the outputs of two untrained networks (docs/dgp.md)."""
