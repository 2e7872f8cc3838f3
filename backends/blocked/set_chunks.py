"""The pairs of a set as chunks: some granules of queries against some blocks of keys.

A chunk is of one key block and queries that it was chosen for. Where blocks are of a few keys, a
chunk is of one granule of queries and all of its keys instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from attnlang.backends.blocked.sets import SetRead, fits, may_and_must, members
from attnlang.backends.call import Call
from attnlang.backends.listed import Listed
from attnlang.compiler.ir import expr as e

ROWS = 64
"""Query rows of a chunk, as far as granules fill it: enough for one product with a key block."""
FEW = 8
"""Keys of a block that are gathered for every query."""
BATCH_BYTES, CPU_BATCH_BYTES = 64 << 20, 2 << 20
"""The largest tensor of one batch of chunks; on a CPU it stays in the cache."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """rows: query rows of the flattened ``[B * Hq * Nq]`` by chunk ``[chunks, R]``; columns: key
    rows of ``[B * Hkv * Nk]`` ``[chunks, T]``; -1 for padding. q_tokens, k_tokens: their places in
    the sequences, for the rest of the condition; None where that holds everywhere. whole: are all
    keys of its rows in this chunk?"""

    rows: torch.Tensor
    columns: torch.Tensor
    q_tokens: torch.Tensor | None
    k_tokens: torch.Tensor | None
    whole: bool = False

    @property
    def padded(self) -> bool:
        """Is a key none?"""
        return bool((self.columns < 0).any())

    def batches(self, width: int) -> Iterator[Chunks]:
        """So many chunks at a time as fit. width: features."""
        count, rows = self.rows.shape
        for cut in _cuts(count, rows, self.columns.shape[1], width, self.rows.device):
            q, k = (None if t is None else t[cut] for t in (self.q_tokens, self.k_tokens))
            yield Chunks(self.rows[cut], self.columns[cut], q, k)


class Gathered:
    """Every granule of queries with all its keys: chunks that are made when they are used."""

    def __init__(self, call: Call, made: SetRead, sets: Listed) -> None:
        self.made, self.sets, self.device = made, sets, call.q.device
        self.heads, self.kv_heads = call.q.shape[1], call.k.shape[1]
        self.lengths = call.q.shape[2], call.k.shape[2]
        self.share = self.heads // sets.index.shape[1]
        self.pack = min(self.share, self.heads // self.kv_heads)
        """Query heads that share a set and their keys."""
        self.shape = call.q.shape[0], self.heads // self.pack, len(made.q.tokens)

    def batches(self, width: int) -> Iterator[Chunks]:
        q_tokens, k_tokens = (
            torch.from_numpy(x.tokens).to(self.device) for x in (self.made.q, self.made.k)
        )
        rows = self.pack * q_tokens.shape[1]
        columns = self.sets.index.shape[3] * k_tokens.shape[1]
        if not columns:
            return
        for cut in _cuts(math.prod(self.shape), rows, columns, width, self.device):
            at = torch.arange(cut.start, cut.stop, device=self.device)
            b, lane, g = at // math.prod(self.shape[1:]), at // self.shape[2], at % self.shape[2]
            first = lane % self.shape[1] * self.pack
            index = self.sets.index[b % len(self.sets.index), first // self.share, g]
            keys = k_tokens[index.clamp(min=0).long()]
            keys = torch.where((index < 0)[..., None], -1, keys).flatten(1)
            tokens = q_tokens[g][:, None].expand(-1, self.pack, -1).flatten(1)
            heads = first[:, None] + torch.arange(self.pack, device=self.device)
            lead = ((b[:, None] * self.heads + heads) * self.lengths[0]).repeat_interleave(
                q_tokens.shape[1], 1
            )
            own = (b * self.kv_heads + first // (self.heads // self.kv_heads)) * self.lengths[1]
            asked = self.made.rest != e.TRUE
            yield Chunks(
                torch.where(tokens < 0, -1, lead + tokens),
                torch.where(keys < 0, -1, own[:, None] + keys),
                tokens if asked else None,
                keys if asked else None,
                whole=True,
            )


def _cuts(count: int, rows: int, columns: int, width: int, device: torch.device) -> Iterator[slice]:
    largest = max(rows * columns, rows * width, columns * width)
    most = CPU_BATCH_BYTES if device.type == "cpu" else BATCH_BYTES
    size = max(1, most // (4 * max(largest, 1)))
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def chunks(call: Call, made: SetRead) -> list[Chunks] | list[Gathered]:
    """Every pair once: those that need the rest of the condition element by element, and others."""
    batch, heads = call.q.shape[:2]
    kv_heads = call.k.shape[1]
    sets = call.inputs.lists.get(made.table)
    if sets is not None and fits(made, sets):
        if made.k.tokens.shape[1] <= FEW:
            return [Gathered(call, made, sets)]
        return _of_lists(call, made, sets)
    may, must = (x.to(call.q.device) for x in may_and_must(made, call.problem))
    table = call.inputs.dense().tables[made.table]
    inside = members(made, table, batch, kv_heads) & may
    share = heads // inside.shape[1]
    found = []
    for partial in (False, True):
        chosen = inside & (~must if partial else must)
        pairs = chosen.transpose(2, 3).nonzero()  # by batch, heads, key block, then queries
        if len(pairs):
            found.append(_chunked(call, made, pairs, share, partial))
    return found


def _of_lists(call: Call, made: SetRead, sets: Listed) -> list[Chunks]:
    # A set of all heads is read with the keys of each key head.
    heads = call.k.shape[1] if made.heads == "all" else -1
    index = sets.index.expand(call.q.shape[0], heads, -1, -1)
    b, h, g, slot = (index >= 0).nonzero().unbind(1)
    u = index[b, h, g, slot].long()
    may, must = (x.to(call.q.device) for x in may_and_must(made, call.problem, (g, u)))
    blocks = len(made.k.tokens)
    order = ((b * index.shape[1] + h) * blocks + u).sort(stable=True).indices
    pairs = torch.stack((b, h, u, g), 1)[order]
    found = []
    for partial in (False, True):
        some = pairs[(may & (~must if partial else must))[order]]
        if len(some):
            found.append(_chunked(call, made, some, call.q.shape[1] // index.shape[1], partial))
    return found


def _chunked(call: Call, made: SetRead, pairs: torch.Tensor, share: int, partial: bool) -> Chunks:
    """pairs: batch, heads' set, key block and granule of queries, sorted by the first three."""
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
