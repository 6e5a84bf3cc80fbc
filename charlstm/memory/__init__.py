"""Experiments on what networks remember: their runs, their measurements, and the report."""
