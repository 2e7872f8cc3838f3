"""Choosing on images and videos: BiFormer, VMoBA."""

from __future__ import annotations

import itertools

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, row


def grid(call: Call, *axes: str) -> list[tuple[int, ...]]:
    """The coordinates of every token, the last axis fastest."""
    return list(itertools.product(*(range(call.sizes[a]) for a in axes)))


Region = tuple[int, int]


def bra_regions(call: Call) -> dict[Region, list[int]]:
    """The tokens of every region; the last ones of a row or column may have fewer."""
    regions = call.params["regions"]
    high, wide = call.sizes["y"] // regions, call.sizes["x"] // regions
    members: dict[Region, list[int]] = {}
    for n, (y, x) in enumerate(grid(call, "y", "x")):
        members.setdefault((y // high, x // wide), []).append(n)
    return members


def bra_scores(call: Call, b: int, region: Region) -> dict[Region, Tensor]:
    """Products of the means over regions, of the full width: the channels of all heads."""
    members = bra_regions(call)
    scores = {}
    for other in sorted(members):
        parts = []
        for h in range(call.q.shape[1]):
            query = call.q[b, h, members[region]].mean(0)
            parts.append(query @ call.k[b, h // call.group, members[other]].mean(0))
        scores[other] = torch.stack(parts).sum()
    return scores


def bra_select(call: Call) -> Sets:
    """The best ``topk`` for each region."""
    names, topk = sorted(bra_regions(call)), call.params["topk"]
    counts = tuple(n + 1 for n in names[-1])
    batch = len(call.q)
    chosen = torch.zeros((batch, *counts, *counts), dtype=torch.bool)
    for b, r in itertools.product(range(batch), names):
        scores = {i: float(s) for i, s in enumerate(bra_scores(call, b, r).values())}
        for i in best(scores, topk):
            chosen[(b, *r, *names[i])] = True
    return {"chosen": chosen}


def bra_attend(call: Call, sets: Sets) -> Tensor:
    """Tokens of the chosen regions, and zeros in place of those that lie beyond the image."""
    members, regions = bra_regions(call), call.params["regions"]
    area = (call.sizes["y"] // regions) * (call.sizes["x"] // regions)
    region = {n: name for name, inside in members.items() for n in inside}
    scale = (call.q.shape[1] * call.q.shape[3]) ** -0.5
    (chosen,) = sets.values()
    out = []
    for b, h, i in call.rows():
        seen = [r for r in members if chosen[(b, *region[i], *r)]]
        keys = [j for r in seen for j in members[r]]
        k, v = (x[b, h // call.group][keys] for x in (call.k, call.v))
        if call.params["routing"] == "soft":  # keys and values times the weights of their regions
            scores = bra_scores(call, b, region[i])
            soft = torch.softmax(torch.stack([scores[r] for r in seen]) * scale, 0)
            weight = torch.stack([soft[seen.index(region[j])] for j in keys])[:, None]
            k, v = weight * k, weight * v
        zeros = area * len(seen) - len(keys)
        k, v = (torch.cat([x, x.new_zeros(zeros, x.shape[1])]) for x in (k, v))
        out.append(row(call.q[b, h, i], k, v, range(len(k)), scale))
    return torch.stack(out).view(*call.q.shape[:3], -1)


def _blocks(call: Call) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """How many blocks there are, and the block of every token; the last ones may be smaller."""
    p, sizes = call.params, call.sizes
    places = grid(call, "t", "y", "x")
    if p["partition"] == "d1":
        line = int(p["run"] * sizes["y"] * sizes["x"])
        of: list[tuple[int, ...]] = [(n // line,) for n in range(len(places))]
    else:
        deep = sizes["t"] if p["partition"] == "d2" else p["block_t"]
        box = (deep, p["block_y"], p["block_x"])
        of = [tuple(c // s for c, s in zip(at, box, strict=True)) for at in places]
    return tuple(max(axis) + 1 for axis in zip(*of, strict=True)), of


Pair = tuple[int, int, int]
"""A head, a query and a block."""


def _scopes(call: Call, pairs: list[Pair]) -> list[list[Pair]]:
    """The pairs of one sample that share a budget."""
    shared: dict[tuple[int, ...], list[Pair]] = {}
    for pair in pairs:
        h, i, c = pair
        key = {"query_head": (h, i), "block": (c,), "head_global": (h,), "overall": ()}
        shared.setdefault(key[call.params["scope"]], []).append(pair)
    return list(shared.values())


def vmoba_select(call: Call) -> Sets:
    """Own blocks, and of the others the best pairs of each scope by one of the two rules."""
    counts, of = _blocks(call)
    names = list(itertools.product(*map(range, counts)))
    shape = tuple(call.sizes[a] for a in ("t", "y", "x"))
    batch, heads, n = call.q.shape[:3]
    chosen = torch.zeros((batch, heads, n, *counts), dtype=torch.bool)
    for b in range(batch):
        raw = {}
        for h, (c, name) in itertools.product(range(heads), enumerate(names)):
            keys = call.k[b, h // call.group]
            mean = keys[[j for j in range(n) if of[j] == name]].mean(0)
            raw |= {(h, i, c): float(call.q[b, h, i] @ mean) for i in range(n)}
        for scope in _scopes(call, list(raw)):
            own = {p for p in scope if names[p[2]] == of[p[1]]}
            rest = sorted((p for p in scope if p not in own), key=lambda p: (-raw[p], p))
            if call.params["by"] == "mass":
                kept = _mass({p: raw[p] for p in scope}, own, rest, call.params["tau"])
            else:  # so many a query as there are queries and heads in the scope
                queries = len({p[:2] for p in scope})
                kept = own | set(rest[: max(call.params["topk"] * queries - len(own), 0)])
            for h, i, c in kept:
                chosen[(b, h, i, *names[c])] = True
    name = "runs" if call.params["partition"] == "d1" else "boxes"
    return {name: chosen.view(batch, heads, *shape, *counts)}


def _mass(raw: dict[Pair, float], own: set[Pair], rest: list[Pair], tau: float) -> set[Pair]:
    """Scores moved to 0 to 1; own pairs count first, then the best until `tau` of all is held."""
    low, high = min(raw.values()), max(raw.values())
    spread = high - low if high - low > 1e-6 else 1.0
    moved = {pair: (x - low) / spread for pair, x in raw.items()}
    total = sum(moved.values())
    needed = max(0.0, tau - sum(moved[p] for p in own) / (total + 1e-6))
    held, kept = 0.0, set(own)
    for pair in rest:  # the one that reaches the budget is kept too
        kept.add(pair)
        held += moved[pair]
        if held / (total + 1e-6) >= needed:
            break
    return kept


def vmoba_attend(call: Call, sets: Sets) -> Tensor:
    """Nothing but own blocks chosen, for no query: then everything is attended, unless told not to."""
    _, of = _blocks(call)
    (chosen,) = sets.values()
    chosen = chosen.flatten(2, 4)
    only_own = int(chosen.sum()) == chosen.shape[0] * chosen.shape[1] * chosen.shape[2]
    everything = only_own and call.params["alone"] == "dense"
    out = []
    for b, h, i in call.rows():
        keys = [j for j, block in enumerate(of) if everything or chosen[(b, h, i, *block)]]
        k, v = (x[b, h // call.group] for x in (call.k, call.v))
        out.append(row(call.q[b, h, i], k, v, keys, call.scale))
    return torch.stack(out).view(*call.q.shape[:3], -1)


ORACLES = {
    "biformer_bra": Oracle(bra_select, bra_attend),
    "vmoba": Oracle(vmoba_select, vmoba_attend),
}
