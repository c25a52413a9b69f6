"""The forward model beyond the plain far field, in small differentiable blocks (docs/forward-model.md)."""
