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
def between(x, reset, CHUNK: tl.constexpr):
    """The decay between key j and query i, 0 for keys after the query. Masked before exp2."""
    i = tl.arange(0, CHUNK)
    sums, resets = tl.cumsum(x, 0), tl.cumsum(reset, 0)
    reached = (i[:, None] >= i[None, :]) & (resets[:, None] == resets[None, :])
    exponent = tl.minimum(sums[:, None] - sums[None, :], 0.0)
    return tl.where(reached, tl.exp2(tl.where(reached, exponent, 0.0)), 0.0)


@triton.jit
def tile(x, rows, stride, columns, length, width):
    """Rows of a tensor, 0 beyond its ends."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    return tl.load(x + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def put(x, rows, stride, columns, length, width, values):
    """The inverse of `tile`."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    place = x + rows[:, None] * stride + columns[None, :]
    tl.store(place, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def scan(
    x, y, a, first, states, last, factor,
    x_batch, x_head, x_token, x_share, y_batch, y_head, y_token, y_share, a_batch, a_head, a_share,
    length, chunks, heads, width, value_width,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """States before each chunk from keys x and values y; in REVERSE the gradients of the states
    after each chunk, from queries x and the output's gradients y."""
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    ks = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    vs = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    x += batch * x_batch + head // x_share * x_head
    y += batch * y_batch + head // y_share * y_head
    a += batch * a_batch + head // a_share * a_head
    one = batch * heads + head
    size = width * value_width
    state = tile(first + one * size, ks, value_width, vs, width, value_width)
    for step in range(chunks):
        chunk = chunks - 1 - step if REVERSE else step
        put(states + (one * chunks + chunk) * size, ks, value_width, vs, width, value_width, state)
        rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
        log, reset = log_decays(a, rows, length)
        decay = reading(log, reset) if REVERSE else writing(log, reset)
        xs = tile(x, rows, x_token, ks, length, width).to(tl.float32) * (decay * factor)[:, None]
        ys = tile(y, rows, y_token, vs, length, value_width).to(tl.float32)
        state *= carrying(log, reset)
        state = tl.dot(tl.trans(xs), ys, state, input_precision=PRECISION)
    put(last + one * size, ks, value_width, vs, width, value_width, state)


@triton.jit
def outputs(
    q, k, v, a, states, out, scale,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    v_batch, v_head, v_token, v_share, a_batch, a_head, a_share, out_batch, out_head, out_token,
    length, chunks, heads, width, value_width,
    CHUNK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What a chunk's queries read of the state, and of the chunk."""
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    chunk = tl.program_id(0)
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    vs = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    q += batch * q_batch + head // q_share * q_head
    k += batch * k_batch + head // k_share * k_head
    v += batch * v_batch + head // v_share * v_head
    a += batch * a_batch + head // a_share * a_head
    states += ((batch * heads + head) * chunks + chunk) * width * value_width
    scores = tl.zeros([CHUNK, CHUNK], tl.float32)
    found = tl.zeros([CHUNK, BLOCK_V], tl.float32)
    for start in range(0, width, BLOCK_K):
        ks = start + tl.arange(0, BLOCK_K)
        qs = tile(q, rows, q_token, ks, length, width)
        keys = tile(k, rows, k_token, ks, length, width)
        state = tile(states, ks, value_width, vs, width, value_width)
        scores = tl.dot(qs, tl.trans(keys), scores, input_precision=PRECISION)
        found = tl.dot(qs.to(tl.float32), state, found, input_precision=PRECISION)
    log, reset = log_decays(a, rows, length)
    found *= reading(log, reset)[:, None]
    values = tile(v, rows, v_token, vs, length, value_width)
    weights = (scores * between(log, reset, CHUNK)).to(values.dtype)
    found = tl.dot(weights, values, found, input_precision=PRECISION) * scale
    out += batch * out_batch + head * out_head
    put(out, rows, out_token, vs, length, value_width, found)


@triton.jit
def gradients(
    q, k, v, a, states, ends, d_out, d_q, d_k, d_v, d_a, scale,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    v_batch, v_head, v_token, v_share, a_batch, a_head, a_share,
    d_out_batch, d_out_head, d_out_token, length, chunks, heads, width, value_width,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk. d_q, d_k, d_v, d_a are contiguous, with all heads."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    chunk = tl.program_id(0)
    rows = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    ks = tl.arange(0, WIDTH)
    one = batch * heads + head
    v += batch * v_batch + head // v_share * v_head
    d_out += batch * d_out_batch + head * d_out_head
    states += (one * chunks + chunk) * width * value_width
    ends += (one * chunks + chunk) * width * value_width
    qs = tile(q + batch * q_batch + head // q_share * q_head, rows, q_token, ks, length, width)
    keys = tile(k + batch * k_batch + head // k_share * k_head, rows, k_token, ks, length, width)
    log, reset = log_decays(a + batch * a_batch + head // a_share * a_head, rows, length)
    decay = between(log, reset, CHUNK) * scale
    read, write = reading(log, reset), writing(log, reset)
    weights = tl.dot(qs, tl.trans(keys), input_precision=PRECISION) * decay
    d_weights = tl.zeros([CHUNK, CHUNK], tl.float32)
    d_qs = tl.zeros([CHUNK, WIDTH], tl.float32)
    d_ks = tl.zeros([CHUNK, WIDTH], tl.float32)
    met = 0.0
    for start in range(0, value_width, BLOCK_V):
        vs = start + tl.arange(0, BLOCK_V)
        values = tile(v, rows, v_token, vs, length, value_width)
        d_outs = tile(d_out, rows, d_out_token, vs, length, value_width)
        state = tile(states, ks, value_width, vs, width, value_width)
        end = tile(ends, ks, value_width, vs, width, value_width)
        d_weights = tl.dot(
            d_outs, tl.trans(values.to(d_outs.dtype)), d_weights, input_precision=PRECISION
        )
        d_qs = tl.dot(d_outs.to(tl.float32), tl.trans(state), d_qs, input_precision=PRECISION)
        d_ks = tl.dot(values.to(tl.float32), tl.trans(end), d_ks, input_precision=PRECISION)
        met += tl.sum(state * end)
        d_vs = tl.dot(keys.to(tl.float32), end, input_precision=PRECISION) * write[:, None]
        turned = tl.trans(weights).to(d_outs.dtype)
        d_vs = tl.dot(turned, d_outs, d_vs, input_precision=PRECISION)
        put(d_v + one * length * value_width, rows, value_width, vs, length, value_width, d_vs)
    d_qs *= (read * scale)[:, None]
    d_ks *= write[:, None]
    # A token's decay lies between the keys before it and the queries from it on. The diagonal
    # has no decay: left out of both sums, it need not cancel.
    i = tl.arange(0, CHUNK)
    pairs = tl.where(i[:, None] > i[None, :], weights * d_weights, 0.0)
    as_query = tl.sum(pairs, 1) + tl.sum(d_qs * qs, 1)
    as_key = tl.sum(d_ks * keys, 1)
    d_log = tl.cumsum(as_query - tl.sum(pairs, 0), 0, reverse=True)
    d_log += tl.cumsum(as_key, 0) - as_key + carrying(log, reset) * met
    tl.store(d_a + one * length + rows, tl.where(reset == 0, d_log, 0.0), mask=rows < length)
    d_scores = (d_weights * decay).to(keys.dtype)
    d_qs = tl.dot(d_scores, keys, d_qs, input_precision=PRECISION)
    d_ks = tl.dot(tl.trans(d_scores), qs, d_ks, input_precision=PRECISION)
    put(d_q + one * length * width, rows, width, ks, length, width, d_qs)
    put(d_k + one * length * width, rows, width, ks, length, width, d_ks)
