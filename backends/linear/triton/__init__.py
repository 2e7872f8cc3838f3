"""Linear attention with scalar decays as Triton kernels; imported only when it is asked for."""
