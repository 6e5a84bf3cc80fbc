"""Vocabularies, memory-mapped corpora, resumable batches, and the catalog of named corpora."""
