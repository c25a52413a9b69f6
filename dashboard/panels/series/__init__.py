"""Work with many jobs: where it runs, trials of settings, batches of scans."""
