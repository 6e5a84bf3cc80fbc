"""Report pages, and plots in a common style."""
