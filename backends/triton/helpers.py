"""Functions that kernels call where Triton's own differ from the language's."""

import triton
import triton.language as tl


@triton.jit
def floormod(a, b):
    """The remainder with the divisor's sign."""
    r = a % b
    return tl.where((r != 0) & ((r < 0) != (b < 0)), r + b, r)


@triton.jit
def floordiv(a, b):
    """The quotient rounded down."""
    return (a - floormod(a, b)) // b


@triton.jit
def round_even(x):
    """The nearest whole number, ties to even."""
    low = tl.floor(x)
    rest = x - low
    odd = tl.floor(low * 0.5) * 2.0 != low
    return tl.where((rest > 0.5) | ((rest == 0.5) & odd), low + 1.0, low)


@triton.jit
def safe_log(x):
    """The natural logarithm; -inf at and below 0."""
    return tl.where(x > 0, tl.log(tl.where(x > 0, x, 1.0)), float("-inf"))


@triton.jit
def safe_log2(x):
    """The logarithm to base 2; -inf at and below 0."""
    return tl.where(x > 0, tl.log2(tl.where(x > 0, x, 1.0)), float("-inf"))


@triton.jit
def safe_sqrt(x):
    """The square root; 0 below 0."""
    return tl.sqrt(tl.where(x > 0, x, 0.0))


@triton.jit
def safe_tanh(x):
    """The hyperbolic tangent, exact at both ends."""
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -y, y)


@triton.jit
def safe_ilog2(x):
    """floor of log2(x); 0 for x below 1."""
    rest = (x * 1).to(tl.int64)
    found = x * 0
    for step in tl.static_range(6):
        large = rest >> (32 >> step) > 0
        found += tl.where(large, 32 >> step, 0)
        rest = tl.where(large, rest >> (32 >> step), rest)
    return tl.where(x > 0, found, 0)


@triton.jit
def safe_pow2(x):
    """2 to the x; 0 for negative x."""
    one = (x * 0 + 1).to(tl.int64)
    return tl.where(x < 0, 0, one << tl.minimum(tl.maximum(x, 0), 62).to(tl.int64))
