"""Report pages and plots, with one style."""
