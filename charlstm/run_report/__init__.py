"""The report of a single run, and learning curves of several."""
