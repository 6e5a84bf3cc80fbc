"""See inside a trained model: what its units do, and what its predictions depend on."""

CHARACTERS, CONTEXT = 5000, 60
"""The number of characters of a text that are read by default, and of those before each that may influence it."""
