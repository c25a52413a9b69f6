"""Many refinements at a time, in processes on this machine or on the workers of a Dask cluster, one job per worker."""
