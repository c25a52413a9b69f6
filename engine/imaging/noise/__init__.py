"""What noise alone does to a map: to its rings of spatial frequencies, to single frequencies, to each pixel."""
