"""Benchmarks: they measure and report; they never pass or fail."""
