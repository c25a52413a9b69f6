"""What command line, server and notebooks share: files read, maps and refinements made, results exported."""
