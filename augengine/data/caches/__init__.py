"""Photos kept after their first read, in memory or on a local disk."""
