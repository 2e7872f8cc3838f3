"""Kernels of linear attention with a scalar decay, forwards and backwards.

One chunk is ``CHUNK`` tokens. `scan` hands the state from chunk to chunk, one program for each part
of it; `outputs` and `gradients` have a program for each chunk. Products with the state are of
float32 numbers (``PRECISION``), others of the tensors' own. Decays are natural logarithms.

q, k, v and the like are ``[B, heads, N, width]`` with strides of batch, head and token; ``x_share``
consecutive heads of all read one head of x. States are ``[B, H, chunks, K, V]``.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
NOTHING = tl.constexpr(-104.0)  # e to less than this is 0 in float32: the token forgets everything


@triton.jit
def log_decays(a, rows, length):
    """Of a chunk's tokens, to base 2: the cumulative sum without resets, and how many of those."""
    x = tl.load(a + rows, mask=rows < length, other=0.0)
    reset = x < NOTHING
    return tl.where(reset, 0.0, x * LOG2_E), reset.to(tl.int32)


@triton.jit
def reading(x, reset):
    """The decay from a chunk's first token to each."""
    return tl.where(tl.cumsum(reset, 0) == 0, tl.exp2(tl.cumsum(x, 0)), 0.0)


@triton.jit
def writing(x, reset):
    """The decay behind each token to the chunk's last."""
    sums = tl.cumsum(x, 0, reverse=True) - x
    return tl.where(tl.cumsum(reset, 0, reverse=True) == reset, tl.exp2(tl.minimum(sums, 0.0)), 0.0)


@triton.jit
def carrying(x, reset):
    """The decay over the whole chunk."""
    return tl.where(tl.sum(reset, 0) == 0, tl.exp2(tl.sum(x, 0)), 0.0)


@triton.jit
def between(x, reset, BACK: tl.constexpr, CHUNK: tl.constexpr):
    """The decay between key j and query i, 0 for keys after the query; BACK swaps i and j.

    Masked before exp2: the other way round exponents are positive.
    """
    tokens, sums, resets = tl.arange(0, CHUNK), tl.cumsum(x, 0), tl.cumsum(reset, 0)
    exponent = sums[:, None] - sums[None, :]
    if BACK:
        reached, exponent = tokens[:, None] <= tokens[None, :], -exponent
    else:
        reached = tokens[:, None] >= tokens[None, :]
    reached = reached & (resets[:, None] == resets[None, :])
    return tl.where(reached, tl.exp2(tl.where(reached, tl.minimum(exponent, 0.0), 0.0)), 0.0)


@triton.jit
def tile(x, rows, row_stride, columns, column_stride, length, width):
    """Rows and columns of a matrix, 0 beyond its ends."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    place = x + rows[:, None] * row_stride + columns[None, :] * column_stride
    return tl.load(place, mask=inside, other=0.0)


@triton.jit
def put(x, rows, row_stride, columns, length, width, values):
    """Writes what `tile` reads, with columns side by side."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    place = x + rows[:, None] * row_stride + columns[None, :]
    tl.store(place, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def scan(
    x, y, a, first, states, last, factor,
    x_batch, x_head, x_token, x_share, y_batch, y_head, y_token, y_share, a_batch, a_head, a_share,
    length, chunks, heads, width, value_width,
    BACK: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """States before each chunk from keys x and values y; with BACK the gradients of the states
    after each chunk, from queries x and the output's gradients y. Grid: K, V, B H."""
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    ks = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    vs = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    x += batch * x_batch + head // x_share * x_head
    y += batch * y_batch + head // y_share * y_head
    a += batch * a_batch + head // a_share * a_head
    one = batch * heads + head
    size = width * value_width
    state = tile(first + one * size, ks, value_width, vs, 1, width, value_width)
    for step in range(chunks):
        chunk = chunks - 1 - step if BACK else step
        put(states + (one * chunks + chunk) * size, ks, value_width, vs, width, value_width, state)
        rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
        log, reset = log_decays(a, rows, length)
        decay = reading(log, reset) if BACK else writing(log, reset)
        xs = tile(x, rows, x_token, ks, 1, length, width).to(tl.float32) * (decay * factor)[:, None]
        ys = tile(y, rows, y_token, vs, 1, length, value_width).to(tl.float32)
        state *= carrying(log, reset)
        state = tl.dot(tl.trans(xs), ys, state, input_precision=PRECISION)
    put(last + one * size, ks, value_width, vs, width, value_width, state)


@triton.jit
def meet(
    x, y, z, a, states, out, factor, scale,
    x_batch, x_head, x_token, x_share, y_batch, y_head, y_token, y_share,
    z_batch, z_head, z_token, z_share, a_batch, a_head, a_share, out_batch, out_head, out_token,
    state_row, state_column, length, chunks, heads, width, out_width,
    BACK: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """factor * (decayed x) state + scale * (x y^T * decays) z for each chunk.

    The output (q, k, v, state), and three of its gradients: of queries (d_out, v, k, turned state),
    and with BACK of values (k, q, d_out, state's gradient) and of keys (v, d_out, q, that turned).
    Grid: chunks, columns of out, B H.
    """
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    chunk = tl.program_id(0)
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    x += batch * x_batch + head // x_share * x_head
    y += batch * y_batch + head // y_share * y_head
    z += batch * z_batch + head // z_share * z_head
    a += batch * a_batch + head // a_share * a_head
    out += batch * out_batch + head * out_head
    states += ((batch * heads + head) * chunks + chunk) * width * out_width
    weights = tl.zeros([CHUNK, CHUNK], tl.float32)
    found = tl.zeros([CHUNK, BLOCK_V], tl.float32)
    for start in range(0, width, BLOCK_K):
        ks = start + tl.arange(0, BLOCK_K)
        xs = tile(x, rows, x_token, ks, 1, length, width)
        ys = tile(y, rows, y_token, ks, 1, length, width)
        state = tile(states, ks, state_row, columns, state_column, width, out_width)
        weights = tl.dot(xs, tl.trans(ys), weights, input_precision=PRECISION)
        found = tl.dot(xs.to(tl.float32), state, found, input_precision=PRECISION)
    log, reset = log_decays(a, rows, length)
    decay = writing(log, reset) if BACK else reading(log, reset)
    found *= (decay * factor)[:, None]
    zs = tile(z, rows, z_token, columns, 1, length, out_width)
    weights = (weights * between(log, reset, BACK, CHUNK) * scale).to(zs.dtype)
    found = tl.dot(weights, zs, found, input_precision=PRECISION)
    put(out, rows, out_token, columns, length, out_width, found)


@triton.jit
def decay_gradient(
    q, k, v, a, states, ends, d_out, d_a, scale,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    v_batch, v_head, v_token, v_share, a_batch, a_head, a_share,
    d_out_batch, d_out_head, d_out_token, length, chunks, heads, width, value_width,
    CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """That of the logarithm of each token's decay, ``[B, H, N]``. Grid: chunks, B H."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    chunk = tl.program_id(0)
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    q += batch * q_batch + head // q_share * q_head
    k += batch * k_batch + head // k_share * k_head
    v += batch * v_batch + head // v_share * v_head
    a += batch * a_batch + head // a_share * a_head
    d_out += batch * d_out_batch + head * d_out_head
    one = batch * heads + head
    states += (one * chunks + chunk) * width * value_width
    ends += (one * chunks + chunk) * width * value_width
    pairs = tl.zeros([CHUNK, CHUNK], tl.float32)
    for start in range(0, width, BLOCK_K):
        ks = start + tl.arange(0, BLOCK_K)
        qs = tile(q, rows, q_token, ks, 1, length, width)
        keys = tile(k, rows, k_token, ks, 1, length, width)
        pairs = tl.dot(qs, tl.trans(keys), pairs, input_precision=PRECISION)
    d_pairs = tl.zeros([CHUNK, CHUNK], tl.float32)
    reads = tl.zeros([CHUNK], tl.float32)
    writes = tl.zeros([CHUNK], tl.float32)
    kept = 0.0
    for first in range(0, value_width, BLOCK_V):
        vs = first + tl.arange(0, BLOCK_V)
        values = tile(v, rows, v_token, vs, 1, length, value_width)
        d_outs = tile(d_out, rows, d_out_token, vs, 1, length, value_width)
        d_pairs = tl.dot(d_outs, tl.trans(values), d_pairs, input_precision=PRECISION)
        read = tl.zeros([CHUNK, BLOCK_V], tl.float32)
        write = tl.zeros([CHUNK, BLOCK_V], tl.float32)
        for start in range(0, width, BLOCK_K):
            ks = start + tl.arange(0, BLOCK_K)
            qs = tile(q, rows, q_token, ks, 1, length, width).to(tl.float32)
            keys = tile(k, rows, k_token, ks, 1, length, width).to(tl.float32)
            state = tile(states, ks, value_width, vs, 1, width, value_width)
            end = tile(ends, ks, value_width, vs, 1, width, value_width)
            read = tl.dot(qs, state, read, input_precision=PRECISION)
            write = tl.dot(keys, end, write, input_precision=PRECISION)
            kept += tl.sum(state * end)
        reads += tl.sum(read * d_outs, 1)
        writes += tl.sum(write * values, 1)
    log, reset = log_decays(a, rows, length)
    # A token's decay lies between the keys before it and the queries from it on. Pairs of a token
    # with itself have no decay: left out, they need not cancel.
    tokens = tl.arange(0, CHUNK)
    pairs *= d_pairs * between(log, reset, False, CHUNK) * scale
    pairs = tl.where(tokens[:, None] > tokens[None, :], pairs, 0.0)
    reads = reads * reading(log, reset) * scale + tl.sum(pairs, 1) - tl.sum(pairs, 0)
    writes *= writing(log, reset)
    found = tl.cumsum(reads, 0, reverse=True) + tl.cumsum(writes, 0) - writes
    found += carrying(log, reset) * kept
    tl.store(d_a + one * length + rows, tl.where(reset == 0, found, 0.0), mask=rows < length)
