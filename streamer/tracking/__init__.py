"""Which scan a message belongs to: names, resends, repeats, and the status of the stream."""
