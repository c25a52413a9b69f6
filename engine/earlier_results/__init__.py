"""Results of earlier refinements, of this program and of others, to begin from (docs/starting-points.md)."""
