"""A run's directory: its files, its lock, its metrics."""
