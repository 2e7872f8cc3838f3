"""What directories bring along: PyTorch and Triton are all that these files import."""
