"""Which passages and n-grams of a text stand in a run's training text."""
