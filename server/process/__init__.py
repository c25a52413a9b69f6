"""What every process of the server shares: configuration, exit codes, compilation, the watch on its parent."""
