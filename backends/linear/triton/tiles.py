"""What all kernels of linear attention are made of: tiles of matrices, and decays of a chunk.

Decays come as ``sums``: those of a chunk's log-decays up to each token, in float64 and to base 2,
as `accumulate` makes them. Their differences are right to float32's last bit even where one token
decays by far more than the others; those that are taken are at most 0.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
NOTHING = tl.constexpr(-151.0)  # 2 to that is 0 in float32: the token forgets everything


@triton.jit
def place(batch, head, x, x_batch, x_head, x_share):
    """Where a head of a tensor begins: ``x_share`` consecutive heads read one of x."""
    return x + batch * x_batch + (head // x_share).to(tl.int64) * x_head


@triton.jit
def tile(x, rows, row_stride, columns, column_stride, length, width):
    """Rows and columns of a matrix, 0 beyond its ends."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    at = x + rows[:, None] * row_stride + columns[None, :] * column_stride
    return tl.load(at, mask=inside, other=0.0)


@triton.jit
def put(x, rows, row_stride, columns, length, width, values):
    """Writes what `tile` reads, with columns side by side."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    at = x + rows[:, None] * row_stride + columns[None, :]
    tl.store(at, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def plus_product(to, x, y, PRECISION: tl.constexpr):
    """``to + x y``, in float32 where x and y differ in precision."""
    if x.dtype != y.dtype:
        x = x.to(tl.float32)
        y = y.to(tl.float32)
    return tl.dot(x, y, to, input_precision=PRECISION)


@triton.jit
def accumulate(
    a, sums, length, width, chunks, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr
):  # fmt: skip
    """``sums [.., chunks CHUNK, width]`` of natural log-decays a ``[.., N, width]``.
    Grid: chunks, columns, all else."""
    one, chunk = tl.program_id(2).to(tl.int64), tl.program_id(0)
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    x = tile(a + one * length * width, rows, width, columns, 1, length, width).to(tl.float64)
    x = tl.cumsum(tl.maximum(x * LOG2_E, NOTHING), 0)
    put(sums + one * chunks * CHUNK * width, rows, width, columns, chunks * CHUNK, width, x)


@triton.jit
def power(exponent):
    return tl.exp2(exponent.to(tl.float32))


@triton.jit
def decays(
    sums, chunk, sums_token, columns, width, CHANNEL: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """From the chunk's first token to each (reading), behind each to its last (writing), and over
    the whole chunk (carrying): ``[CHUNK, columns]`` twice, ``[columns]``; without CHANNEL there is
    one column."""
    if not CHANNEL:
        columns = tl.arange(0, 1)
        width = 1
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    here = tile(sums, rows, sums_token, columns, 1, (chunk + 1) * CHUNK, width)
    last = tl.cast((chunk + 1) * CHUNK - 1, tl.int64)
    whole = tl.load(sums + last * sums_token + columns, mask=columns < width, other=0.0)
    return power(here), power(whole[None, :] - here), power(whole)


@triton.jit
def between(sums, chunk, sums_token, BACK: tl.constexpr, CHUNK: tl.constexpr):
    """With one decay a token: that between key j and query i, 0 for keys after the query; BACK
    swaps i and j. Differences are taken in two parts of float32, which is faster than float64."""
    tokens = tl.arange(0, CHUNK)
    here = tl.load(sums + (chunk * CHUNK + tokens).to(tl.int64) * sums_token)
    high = here.to(tl.float32)
    low = (here - high.to(tl.float64)).to(tl.float32)
    exponent = (high[:, None] - high[None, :]) + (low[:, None] - low[None, :])
    if BACK:
        reached, exponent = tokens[:, None] <= tokens[None, :], -exponent
    else:
        reached = tokens[:, None] >= tokens[None, :]
    # Masked before exp2: the exponents of the other side are positive.
    return tl.where(reached, tl.exp2(tl.where(reached, tl.minimum(exponent, 0.0), 0.0)), 0.0)
