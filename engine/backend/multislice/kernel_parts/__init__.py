"""Products, sums and filters of planes in the cache: what the compiled kernel is put together of."""
