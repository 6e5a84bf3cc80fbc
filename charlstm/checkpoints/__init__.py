"""Checkpoints: the file format, its checks, and which checkpoints a run has."""
