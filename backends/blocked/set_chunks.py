"""The pairs of a set as chunks: some granules of queries against one block of keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.blocked.sets import SetRead, may_and_must, members
from attnlang.backends.call import Call

ROWS = 64
"""Query rows of a chunk, as far as granules fill it: enough for one product with a key block."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """rows: query rows of the flattened ``[B * Hq * Nq]`` by chunk ``[chunks, R]``; columns: key
    rows of ``[B * Hkv * Nk]`` ``[chunks, T]``; -1 for padding. q_tokens, k_tokens: their places in
    the sequences, for the rest of the condition; None where that holds everywhere."""

    rows: torch.Tensor
    columns: torch.Tensor
    q_tokens: torch.Tensor | None
    k_tokens: torch.Tensor | None


def chunks(call: Call, made: SetRead) -> list[Chunks]:
    """Every pair once: those that need the rest of the condition element by element, and others."""
    problem, device = call.problem, call.q.device
    batch, heads = call.q.shape[:2]
    kv_heads = call.k.shape[1]
    may, must = (x.to(device) for x in may_and_must(made, problem))
    inside = members(made, call.inputs.tables[made.table], batch, kv_heads) & may
    share = heads // inside.shape[1]
    found = []
    for partial in (False, True):
        chosen = inside & (~must if partial else must)
        pairs = chosen.transpose(2, 3).nonzero()  # by batch, heads, key block, then queries
        if len(pairs):
            found.append(_chunked(call, made, pairs, share, partial))
    return found


def _chunked(call: Call, made: SetRead, pairs: torch.Tensor, share: int, partial: bool) -> Chunks:
    device = pairs.device
    q_tokens = torch.from_numpy(made.q.tokens).to(device)
    k_tokens = torch.from_numpy(made.k.tokens).to(device)
    heads, kv_heads = call.q.shape[1], call.k.shape[1]
    b, h, u, g = pairs.unbind(1)
    sets = heads // share
    keys = (b * sets + h) * len(k_tokens) + u
    size = max(1, ROWS // (q_tokens.shape[1] * share))
    _, counts = torch.unique_consecutive(keys, return_counts=True)
    needed = -(-counts // size)
    start = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    within = torch.arange(len(keys), device=device) - start
    first = torch.repeat_interleave(needed.cumsum(0) - needed, counts)
    chunk, slot = first + within // size, within % size
    total = int(needed.sum())

    def one(values: torch.Tensor) -> torch.Tensor:
        """A value that all pairs of a chunk have."""
        return values.new_zeros(total).scatter(0, chunk, values)

    granule = torch.full((total, size), -1, dtype=torch.int64, device=device)
    granule[chunk, slot] = g
    tokens = q_tokens[granule.clamp(min=0)]
    tokens = torch.where((granule < 0)[..., None], -1, tokens).flatten(1)  # [chunks, slots]
    b, h, u = one(b), one(h), one(u)
    q_heads = h[:, None] * share + torch.arange(share, device=device)
    lead = (b[:, None] * heads + q_heads) * call.q.shape[2]
    rows = torch.where(tokens[:, None] < 0, -1, lead[..., None] + tokens[:, None]).flatten(1)
    columns = k_tokens[u]
    kv = (h * share) // (heads // kv_heads)
    places = ((b * kv_heads + kv) * call.k.shape[2])[:, None] + columns
    places = torch.where(columns < 0, -1, places)
    if not partial:
        return Chunks(rows, places, None, None)
    return Chunks(rows, places, tokens[:, None].expand(-1, share, -1).flatten(1), columns)
