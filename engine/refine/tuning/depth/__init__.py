"""What the thickness of a specimen is read from."""
