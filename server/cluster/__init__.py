"""Many refinements at a time: in processes of this machine, or on a Dask cluster, its workers, a job on one of them."""
