"""Compresses files by a model's predictions, with the same result on every machine."""
