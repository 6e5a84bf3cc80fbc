"""Comparisons of what networks remember: their runs, their measurements, and the report of both."""
