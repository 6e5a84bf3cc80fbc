"""Checkpoints: the file format, its checks, and the checkpoints of a run."""
