"""Work of many jobs: where it is done, trials of settings, batches of scans."""
