"""The gradients of queries, keys and decays, chunk by chunk."""

import triton
import triton.language as tl

from attnlang.backends.linear.triton.halves import is_second, side_by_side, to_the_middle
from attnlang.backends.linear.triton.tiles import (
    between,
    decays,
    place,
    plus_product,
    put,
    tile,
)


@triton.jit
def scalar_pairs(
    d_q, d_k, q, k, sums, chunk, sums_token, d_pairs, PRECISION: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """By way of the pairs, with one decay a token: to the gradients of q and k those are added;
    and the gradient of the sums."""
    tokens = tl.arange(0, CHUNK)
    d_scores = d_pairs * between(sums, chunk, sums_token, False, CHUNK)
    d_q = plus_product(d_q, d_scores.to(k.dtype), k, PRECISION)
    d_k = plus_product(d_k, tl.trans(d_scores).to(q.dtype), q, PRECISION)
    scores = plus_product(tl.zeros([CHUNK, CHUNK], tl.float32), q, tl.trans(k), PRECISION)
    # Pairs of a token with itself have no decay: left out, they need not cancel.
    d_exponents = tl.where(tokens[:, None] > tokens[None, :], d_scores * scores, 0.0)
    return d_q, d_k, (tl.sum(d_exponents, 1) - tl.sum(d_exponents, 0))[:, None]


@triton.jit
def channel_pairs(
    d_q, d_k, q, k, sums, chunk, sums_token, columns, width, d_pairs, PRECISION: tl.constexpr,
    LEVELS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """`scalar_pairs` with decays of every channel, for q and k of float32."""
    tokens = tl.arange(0, CHUNK)
    alone = tl.where(tokens[:, None] == tokens[None, :], d_pairs, 0.0)
    alone = tl.sum(alone, 1)[:, None]
    d_q += alone * k
    d_k += alone * q
    d_sums = tl.zeros([CHUNK, BLOCK_K], tl.float32)
    for level in range(LEVELS):
        second = is_second(level, CHUNK)[:, None]
        decay = to_the_middle(sums, chunk, sums_token, columns, width, level, CHUNK)
        d_block = tl.where(side_by_side(level, CHUNK), d_pairs, 0.0)
        keys, queries = tl.where(second, 0.0, k * decay), tl.where(second, q * decay, 0.0)
        from_keys = tl.dot(d_block, keys, input_precision=PRECISION) * decay
        from_queries = tl.dot(tl.trans(d_block), queries, input_precision=PRECISION) * decay
        d_q += tl.where(second, from_keys, 0.0)
        d_k += tl.where(second, 0.0, from_queries)
        d_sums += tl.where(second, from_keys * q, -from_queries * k)
    return d_q, d_k, d_sums


@triton.jit
def through_pairs(
    d_q, d_k, d_sums, q, k, sums, chunk, sums_token, columns, width, d_pairs,
    CHANNEL: tl.constexpr, PRECISION: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    if CHANNEL:
        d_q, d_k, more = channel_pairs(
            d_q, d_k, q.to(tl.float32), k.to(tl.float32), sums, chunk, sums_token, columns, width,
            d_pairs, PRECISION, LEVELS, CHUNK, BLOCK_K,
        )  # fmt: skip
    else:
        d_q, d_k, more = scalar_pairs(
            d_q, d_k, q, k, sums, chunk, sums_token, d_pairs, PRECISION, CHUNK
        )
    return d_q, d_k, d_sums + more


@triton.jit
def sums_until(
    x, CHANNEL: tl.constexpr, CHUNK: tl.constexpr, BACK: tl.constexpr
):  # fmt: skip
    """Sums of the rows up to each, or with BACK from each on."""
    if CHANNEL:
        found = tl.cumsum(x, 0, reverse=BACK)
    else:
        # Triton up to 3.6 cannot compile a scan of one column.
        rows = tl.arange(0, CHUNK)
        seen = rows[:, None] <= rows[None, :] if BACK else rows[:, None] >= rows[None, :]
        found = tl.sum(tl.where(seen, tl.trans(x), 0.0), 1)[:, None]
    return found


@triton.jit
def gradients(
    q, k, v, sums, states, ends, d_out, d_v, d_q, d_k, d_a, scale,
    q_batch, q_head, q_token, q_share, k_batch, k_head, k_token, k_share,
    v_batch, v_head, v_token, v_share, sums_batch, sums_head, sums_token, sums_share,
    d_out_batch, d_out_head, d_out_token, d_out_share, length, chunks, heads, width, value_width,
    DELTA: tl.constexpr, CHANNEL: tl.constexpr, LEVELS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the states before each chunk and the gradients of those after it (``ends``).

    v is what was written: with DELTA what the rule made of the values, whose own gradient is d_v.
    d_a ``[B, H, N, columns]``: a column a channel, or one a block of channels, to be added up.
    Grid: chunks, K, B H.
    """
    batch, head = (tl.program_id(2) // heads).to(tl.int64), tl.program_id(2) % heads
    chunk, tokens = tl.program_id(0), tl.arange(0, CHUNK)
    rows = (chunk * CHUNK + tokens).to(tl.int64)
    ks = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    q = place(batch, head, q, q_batch, q_head, q_share)
    k = place(batch, head, k, k_batch, k_head, k_share)
    v = place(batch, head, v, v_batch, v_head, v_share)
    sums = place(batch, head, sums, sums_batch, sums_head, sums_share)
    d_out = place(batch, head, d_out, d_out_batch, d_out_head, d_out_share)
    one = batch * heads + head
    states += (one * chunks + chunk) * width * value_width
    ends += (one * chunks + chunk) * width * value_width
    d_pairs = tl.zeros([CHUNK, CHUNK], tl.float32)
    d_keys = tl.zeros([CHUNK, CHUNK], tl.float32)
    d_reads = tl.zeros([CHUNK, BLOCK_K], tl.float32)
    d_writes = tl.zeros([CHUNK, BLOCK_K], tl.float32)
    d_asks = tl.zeros([CHUNK, BLOCK_K], tl.float32)
    kept = tl.zeros([BLOCK_K], tl.float32)
    for start in range(0, value_width, BLOCK_V):
        vs = start + tl.arange(0, BLOCK_V)
        outs = tile(d_out, rows, d_out_token, vs, 1, length, value_width)
        values = tile(v, rows, v_token, vs, 1, length, value_width)
        state = tile(states, ks, value_width, vs, 1, width, value_width)
        ending = tile(ends, ks, value_width, vs, 1, width, value_width)
        d_pairs = plus_product(d_pairs, outs, tl.trans(values), PRECISION)
        d_reads = plus_product(d_reads, outs.to(tl.float32), tl.trans(state), PRECISION)
        d_writes = plus_product(d_writes, values.to(tl.float32), tl.trans(ending), PRECISION)
        kept += tl.sum(state * ending, 1)
        if DELTA:
            from_v = d_v + one * length * value_width
            d_values = tile(from_v, rows, value_width, vs, 1, length, value_width)
            d_keys = plus_product(d_keys, d_values, tl.trans(values), PRECISION)
            d_asks = plus_product(d_asks, d_values, tl.trans(state), PRECISION)
    read, write, carry = decays(sums, chunk, sums_token, ks, width, CHANNEL, CHUNK)
    qs = tile(q, rows, q_token, ks, 1, length, width)
    keys = tile(k, rows, k_token, ks, 1, length, width)
    d_qs = d_reads * (read * scale)
    d_asks *= -read
    d_writes *= write
    # From the states: exponents of reading begin, those of writing end with the chunk.
    d_from, d_until = d_qs * qs + d_asks * keys, d_writes * keys
    if not CHANNEL:
        d_from = tl.sum(d_from, 1)[:, None]
        d_until = tl.sum(d_until, 1)[:, None]
        kept = tl.sum(kept, 0)[None]
    d_as = sums_until(d_until, CHANNEL, CHUNK, False) - d_until + (carry * kept)[None, :]
    d_ks = d_asks + d_writes
    d_pairs = tl.where(tokens[:, None] >= tokens[None, :], d_pairs * scale, 0.0)
    d_qs, d_ks, d_sums = through_pairs(
        d_qs, d_ks, d_from, qs, keys, sums, chunk, sums_token, ks, width, d_pairs, CHANNEL,
        PRECISION, LEVELS, CHUNK, BLOCK_K,
    )  # fmt: skip
    if DELTA:
        d_keys = tl.where(tokens[:, None] > tokens[None, :], -d_keys, 0.0)
        left, d_ks, d_sums = through_pairs(
            tl.zeros_like(d_ks), d_ks, d_sums, keys, keys, sums, chunk, sums_token, ks, width,
            d_keys, CHANNEL, PRECISION, LEVELS, CHUNK, BLOCK_K,
        )  # fmt: skip
        d_ks += left
    # A token's decay is in the sums from it on.
    d_as += sums_until(d_sums, CHANNEL, CHUNK, True)
    put(d_q + one * length * width, rows, width, ks, length, width, d_qs)
    put(d_k + one * length * width, rows, width, ks, length, width, d_ks)
    columns = width if CHANNEL else tl.num_programs(1)
    at = ks if CHANNEL else tl.program_id(1) + tl.arange(0, 1)
    put(d_a + one * length * columns, rows, columns, at, length, columns, d_as)
