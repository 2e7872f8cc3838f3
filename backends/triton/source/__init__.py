"""Python text as a typed tree: what kernels are written in before they are printed."""
