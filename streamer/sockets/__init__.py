"""What every socket of this program needs: keys, a queue bounded in bytes, connections that outlast strangers."""
