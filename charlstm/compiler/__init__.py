"""Compiles a cell's equations: graph, derivative, schedule, stages, and code generators for torch, C++ and Triton."""
