"""Comparisons of networks: arms, seeds, statistics, report."""
