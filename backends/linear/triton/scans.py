"""Kernels that hand the state from chunk to chunk, forwards, and its gradient backwards.

One chunk is ``CHUNK`` tokens; one program goes through all chunks with its part of the state.
Products with states are of float32 numbers (``PRECISION``).

q, k, v and the like are ``[B, heads, N, width]`` with strides of batch, head and token; ``x_share``
consecutive heads of all read one head of x. sums ``[B, heads, N', 1 or K]`` are those of decays,
with ``CHANNEL`` one a channel; see `tiles`. States are ``[B, H, chunks, K, V]``, first and last
``[B, H, K, V]``. What lies between kernels, such as ``made``, is ``[B, H, N, width]`` without gaps.
"""

import triton
import triton.language as tl

from attnlang.backends.linear.triton.tiles import decays, place, put, tile


@triton.jit
def scan(
    x, y, sums, first, states, last, factor,
    x_batch, x_head, x_token, x_share, y_batch, y_head, y_token, y_share,
    sums_batch, sums_head, sums_token, sums_share, length, chunks, heads, width, value_width,
    BACK: tl.constexpr, CHANNEL: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """States before each chunk from keys x and values y; with BACK the gradients of the states
    after each chunk, from queries x and the output's gradients y. Grid: K, V, B H."""
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    ks = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    vs = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    x = place(batch, head, x, x_batch, x_head, x_share)
    y = place(batch, head, y, y_batch, y_head, y_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    one, size = batch * heads + head, width * value_width
    state = tile(first + one * size, ks, value_width, vs, 1, width, value_width)
    for step in range(chunks):
        chunk = chunks - 1 - step if BACK else step
        put(states + (one * chunks + chunk) * size, ks, value_width, vs, width, value_width, state)
        rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
        read, write, carry = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
        decay = read if BACK else write
        xs = tile(x, rows, x_token, ks, 1, length, width).to(tl.float32) * (decay * factor)
        ys = tile(y, rows, y_token, vs, 1, length, value_width).to(tl.float32)
        state *= carry[:, None]
        state = tl.dot(tl.trans(xs), ys, state, input_precision=PRECISION)
    put(last + one * size, ks, value_width, vs, width, value_width, state)


@triton.jit
def delta_scan(
    k, given, w, sums, first, states, last, made,
    k_batch, k_head, k_token, k_share, sums_batch, sums_head, sums_token, sums_share,
    length, chunks, heads, width, value_width,
    CHANNEL: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """`scan` where a chunk writes ``made = given - w state``. BLOCK_K holds all of K.
    Grid: V, B H."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    ks = tl.arange(0, BLOCK_K)
    vs = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    k = place(batch, head, k, k_batch, k_head, k_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    one, size = batch * heads + head, width * value_width
    given += one * length * value_width
    made += one * length * value_width
    w += one * length * width
    state = tile(first + one * size, ks, value_width, vs, 1, width, value_width)
    for chunk in range(chunks):
        put(states + (one * chunks + chunk) * size, ks, value_width, vs, width, value_width, state)
        rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
        asked = tile(w, rows, width, ks, 1, length, width)
        written = tile(given, rows, value_width, vs, 1, length, value_width)
        written -= tl.dot(asked, state, input_precision=PRECISION)
        put(made, rows, value_width, vs, length, value_width, written)
        _, write, carry = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
        keys = tile(k, rows, k_token, ks, 1, length, width).to(tl.float32) * write
        state *= carry[:, None]
        state = tl.dot(tl.trans(keys), written, state, input_precision=PRECISION)
    put(last + one * size, ks, value_width, vs, width, value_width, state)


@triton.jit
def delta_scan_back(
    q, k, d_out, given, w, sums, first, states, last, made, factor,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    d_out_batch, d_out_head, d_out_token, d_out_share,
    sums_batch, sums_head, sums_token, sums_share, length, chunks, heads, width, value_width,
    CHANNEL: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """From the end, ``states`` being the gradients of the states after each chunk: ``made`` is that
    of what the chunk wrote, ``given`` (by its own queries) plus what later chunks read of it."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    ks = tl.arange(0, BLOCK_K)
    vs = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    q = place(batch, head, q, q_batch, q_head, q_share)
    k = place(batch, head, k, k_batch, k_head, k_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    d_out = place(batch, head, d_out, d_out_batch, d_out_head, d_out_share)
    one, size = batch * heads + head, width * value_width
    given += one * length * value_width
    made += one * length * value_width
    w += one * length * width
    state = tile(first + one * size, ks, value_width, vs, 1, width, value_width)
    for step in range(chunks):
        chunk = chunks - 1 - step
        put(states + (one * chunks + chunk) * size, ks, value_width, vs, width, value_width, state)
        rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
        _, write, carry = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
        keys = tile(k, rows, k_token, ks, 1, length, width).to(tl.float32) * write
        written = tile(given, rows, value_width, vs, 1, length, value_width)
        written = tl.dot(keys, state, written, input_precision=PRECISION)
        put(made, rows, value_width, vs, length, value_width, written)
        read, _, _ = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
        queries = tile(q, rows, q_token, ks, 1, length, width).to(tl.float32)
        queries *= read * factor
        outs = tile(d_out, rows, d_out_token, vs, 1, length, value_width).to(tl.float32)
        asked = tile(w, rows, width, ks, 1, length, width)
        state *= carry[:, None]
        state = tl.dot(tl.trans(queries), outs, state, input_precision=PRECISION)
        state -= tl.dot(tl.trans(asked), written, input_precision=PRECISION)
    put(last + one * size, ks, value_width, vs, width, value_width, state)
