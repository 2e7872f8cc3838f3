"""Kernels with a program for each chunk: weights of pairs, the delta rule's systems, outputs.

Arguments as in `scans`. Matrices over the pairs of a chunk are ``[B, H, chunks, CHUNK, CHUNK]``.
"""

import triton
import triton.language as tl

from attnlang.backends.linear.triton.halves import inverse, plus_pairs
from attnlang.backends.linear.triton.tiles import (
    between,
    decays,
    place,
    plus_product,
    put,
    tile,
)


@triton.jit
def chunk_pairs(
    x, y, sums, chunk, x_token, y_token, sums_token, length, width, BACK: tl.constexpr,
    CHANNEL: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Decayed products of a chunk's queries x and keys y; with BACK of keys x and queries y."""
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    found = tl.zeros([CHUNK, CHUNK], tl.float32)
    for start in range(0, width, BLOCK_K):
        ks = start + tl.arange(0, BLOCK_K)
        xs = tile(x, rows, x_token, ks, 1, length, width)
        ys = tile(y, rows, y_token, ks, 1, length, width)
        if CHANNEL:
            xs = xs.to(tl.float32)
            ys = ys.to(tl.float32)
            found = plus_pairs(
                found, xs, ys, sums, chunk, sums_token, ks, width, PRECISION, LEVELS, CHUNK
            )
        else:
            found = plus_product(found, xs, tl.trans(ys), PRECISION)
    if not CHANNEL:
        found *= between(sums, chunk, sums_token, BACK, CHUNK)
    return found


@triton.jit
def pairs(
    q, k, sums, found, scale,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    sums_batch, sums_head, sums_token, sums_share, length, chunks, heads, width,
    CHANNEL: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The weights of the pairs of each chunk. Grid: chunks, B H."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    chunk, tokens = tl.program_id(0), tl.arange(0, CHUNK)
    q = place(batch, head, q, q_batch, q_head, q_share)
    k = place(batch, head, k, k_batch, k_head, k_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    found += ((batch * heads + head) * chunks + chunk) * CHUNK * CHUNK
    made = chunk_pairs(
        q, k, sums, chunk, q_token, k_token, sums_token, length, width, False, CHANNEL, LEVELS,
        CHUNK, BLOCK_K, PRECISION,
    )  # fmt: skip
    put(found, tokens, CHUNK, tokens, CHUNK, CHUNK, made * scale)


@triton.jit
def solve(
    k, v, beta, sums, keys, solver, given, w,
    k_batch, k_head, k_token, k_share, v_batch, v_head, v_token, v_share,
    beta_batch, beta_head, beta_token, beta_share, sums_batch, sums_head, sums_token, sums_share,
    length, chunks, heads, width, value_width,
    CHANNEL: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The delta rule's system of each chunk: ``solver (v - decayed k state)`` is what it writes.

    keys: decayed products of keys with earlier ones, A. solver: (I + beta A)^-1 beta. given, w: the
    solver's products with v and with the keys decayed since the chunk began. Grid: chunks, B H.
    """
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    chunk, tokens = tl.program_id(0), tl.arange(0, CHUNK)
    k = place(batch, head, k, k_batch, k_head, k_share)
    v = place(batch, head, v, v_batch, v_head, v_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    beta = place(batch, head, beta, beta_batch, beta_head, beta_share)
    one = batch * heads + head
    keys += (one * chunks + chunk) * CHUNK * CHUNK
    solver += (one * chunks + chunk) * CHUNK * CHUNK
    given += one * length * value_width
    w += one * length * width
    rows = (chunk * CHUNK + tokens).to(tl.int64)
    found = chunk_pairs(
        k, k, sums, chunk, k_token, k_token, sums_token, length, width, False, CHANNEL, LEVELS,
        CHUNK, BLOCK_K, EXACT,
    )  # fmt: skip
    found = tl.where(tokens[:, None] > tokens[None, :], found, 0.0)
    put(keys, tokens, CHUNK, tokens, CHUNK, CHUNK, found)
    factor = tl.load(beta + rows * beta_token, mask=rows < length, other=0.0)
    found = inverse(found * factor[:, None], EXACT, LEVELS, CHUNK) * factor[None, :]
    put(solver, tokens, CHUNK, tokens, CHUNK, CHUNK, found)
    for start in range(0, value_width, BLOCK_V):
        vs = start + tl.arange(0, BLOCK_V)
        values = tile(v, rows, v_token, vs, 1, length, value_width).to(tl.float32)
        made = tl.dot(found, values, input_precision=PRECISION)
        put(given, rows, value_width, vs, length, value_width, made)
    for start in range(0, width, BLOCK_K):
        ks = start + tl.arange(0, BLOCK_K)
        read, _, _ = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
        asks = tile(k, rows, k_token, ks, 1, length, width).to(tl.float32) * read
        made = tl.dot(found, asks, input_precision=PRECISION)
        put(w, rows, width, ks, length, width, made)


@triton.jit
def meet(
    x, y, z, sums, given, states, out, factor, scale,
    x_batch, x_head, x_token, x_share, y_batch, y_head, y_token, y_share,
    z_batch, z_head, z_token, z_share, sums_batch, sums_head, sums_token, sums_share,
    length, chunks, heads, width, value_width,
    BACK: tl.constexpr, GIVEN: tl.constexpr, STATES: tl.constexpr, CHANNEL: tl.constexpr,
    LEVELS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """``factor * (decayed x) state + pairs z`` for each chunk: the output (q, k, v), and with BACK,
    which turns the pairs, the gradient of the values (k, q, d_out).

    The pairs are ``given``, or with one decay a token worked out, x times y times ``scale``.
    Without STATES only the second half. Grid: chunks, V, B H.
    """
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    chunk, tokens = tl.program_id(0), tl.arange(0, CHUNK)
    rows = (chunk * CHUNK + tokens).to(tl.int64)
    vs = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    x = place(batch, head, x, x_batch, x_head, x_share)
    y = place(batch, head, y, y_batch, y_head, y_share)
    z = place(batch, head, z, z_batch, z_head, z_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    one = batch * heads + head
    found = tl.zeros([CHUNK, BLOCK_V], tl.float32)
    if STATES:
        states += (one * chunks + chunk) * width * value_width
        for start in range(0, width, BLOCK_K):
            ks = start + tl.arange(0, BLOCK_K)
            read, write, _ = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
            decay = write if BACK else read
            xs = tile(x, rows, x_token, ks, 1, length, width).to(tl.float32) * (decay * factor)
            state = tile(states, ks, value_width, vs, 1, width, value_width)
            found = tl.dot(xs, state, found, input_precision=PRECISION)
    if GIVEN:
        given += (one * chunks + chunk) * CHUNK * CHUNK
        weights = tile(
            given, tokens, 1 if BACK else CHUNK, tokens, CHUNK if BACK else 1, CHUNK, CHUNK
        )
    else:
        weights = scale * chunk_pairs(
            x, y, sums, chunk, x_token, y_token, sums_token, length, width, BACK, CHANNEL, LEVELS,
            CHUNK, BLOCK_K, PRECISION,
        )  # fmt: skip
    zs = tile(z, rows, z_token, vs, 1, length, value_width)
    found = tl.dot(weights.to(zs.dtype), zs, found, input_precision=PRECISION)
    out += one * length * value_width
    put(out, rows, value_width, vs, length, value_width, found)
