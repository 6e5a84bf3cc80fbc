"""Text: vocabularies, memory-mapped corpora, resumable batches, and the catalogue of named corpora."""
