"""Directories that run by themselves: kernels, and Python text for what stands between them."""
