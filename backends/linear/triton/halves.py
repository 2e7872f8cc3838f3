"""Pairs of a chunk with decays of their own for every channel.

The chunk is halved again and again. All pairs of a query in a second half and a key in the first
half beside it are one product: of queries decayed since their half began and keys decayed until
then. Both exponents are at most 0, and every pair of tokens is parted by one halving.
At a ``level`` halves have 2 to the level tokens.
"""

import triton
import triton.language as tl

from attnlang.backends.linear.triton.tiles import power, tile


@triton.jit
def is_second(level, CHUNK: tl.constexpr):
    """Which tokens stand in a second half, ``[CHUNK]``."""
    return (tl.arange(0, CHUNK) >> level) % 2 == 1


@triton.jit
def side_by_side(level, CHUNK: tl.constexpr):
    """Which pairs of tokens stand in one pair of halves, ``[CHUNK, CHUNK]``."""
    whole = tl.arange(0, CHUNK) >> (level + 1)
    return whole[:, None] == whole[None, :]


@triton.jit
def to_the_middle(sums, chunk, sums_token, columns, width, level, CHUNK: tl.constexpr):
    """Decays since the second half began, of tokens in one, and of the others until it begins."""
    tokens = tl.arange(0, CHUNK)
    middles = ((((tokens >> level) | 1) << level) + chunk * CHUNK).to(tl.int64)
    end = (chunk + 1) * CHUNK
    rows = (tokens + chunk * CHUNK).to(tl.int64)
    here = tile(sums, rows, sums_token, columns, 1, end, width)
    middle = tile(sums, middles, sums_token, columns, 1, end, width)
    second = is_second(level, CHUNK)[:, None]
    return power(tl.where(second, here - middle, middle - here))


@triton.jit
def plus_pairs(
    to, x, y, sums, chunk, sums_token, columns, width, PRECISION: tl.constexpr,
    LEVELS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """``to`` plus the decayed products of queries x and keys y, of float32; 0 for later keys."""
    tokens = tl.arange(0, CHUNK)
    to += tl.where(tokens[:, None] == tokens[None, :], tl.sum(x * y, 1)[:, None], 0.0)
    for level in range(LEVELS):
        second = is_second(level, CHUNK)[:, None]
        decay = to_the_middle(sums, chunk, sums_token, columns, width, level, CHUNK)
        queries, keys = tl.where(second, x * decay, 0.0), tl.where(second, 0.0, y * decay)
        found = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        to += tl.where(side_by_side(level, CHUNK), found, 0.0)
    return to


@triton.jit
def inverse(system, PRECISION: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr):
    """Of I + system, which is strictly lower: of blocks twice as large every time.

    [[P, 0], [B, Q]] has the inverse [[P', 0], [-Q' B P', Q']]. As stable as substitution, which
    a sum of powers is not.
    """
    tokens = tl.arange(0, CHUNK)
    found = tl.where(tokens[:, None] == tokens[None, :], 1.0, 0.0)
    for level in range(LEVELS):
        second = is_second(level, CHUNK)
        crossing = side_by_side(level, CHUNK) & second[:, None] & ~second[None, :]
        left = tl.dot(found, tl.where(crossing, system, 0.0), input_precision=PRECISION)
        found -= tl.dot(left, found, input_precision=PRECISION)
    return found
