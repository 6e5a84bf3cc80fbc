"""Comparing networks: arms, seeds, statistics, report."""
