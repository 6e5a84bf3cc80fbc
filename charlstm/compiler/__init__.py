"""From a cell's equations to programs: graph, derivative, schedule, stages, and printers for torch, C++ and Triton."""
