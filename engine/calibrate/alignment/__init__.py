"""Images of the bright field's bins, aligned with each other (parallax)."""
