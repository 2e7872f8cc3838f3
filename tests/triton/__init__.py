"""The Triton backend, under its interpreter where there is no GPU."""
