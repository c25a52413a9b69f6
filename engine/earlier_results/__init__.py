"""Results of earlier refinements, of this and other programs, as starting points (docs/starting-points.md)."""
