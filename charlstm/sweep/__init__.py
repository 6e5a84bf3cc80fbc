"""Searches for good settings: trials of candidates, successive halving, report."""
