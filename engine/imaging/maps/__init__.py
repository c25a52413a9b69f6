"""The built-in live maps, one file for each."""
