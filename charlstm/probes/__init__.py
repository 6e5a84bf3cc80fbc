"""Probes of a trained model's memory: synthetic tasks and measurements."""
