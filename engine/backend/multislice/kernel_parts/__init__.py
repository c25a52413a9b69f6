"""Products, sums and filters of planes in the cache: the building blocks of the compiled kernel."""
