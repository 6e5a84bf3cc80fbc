"""Devices, precisions and memory."""
