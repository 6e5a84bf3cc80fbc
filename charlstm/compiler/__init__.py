"""Compiles a cell's equations: graph, derivative, schedule, loop, stages, and printers of torch, C++ and Triton."""
