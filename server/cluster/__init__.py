"""Refinements on a Dask cluster: where it is, its workers, and a job on one of them."""
