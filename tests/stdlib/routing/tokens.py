"""Tokens chosen by what they are given, not by blocks: H2O, ZipVL, RelationNet++, STKIM and others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, row

Pair = Callable[[int, int, int, int], bool]


def nothing(call: Call) -> Sets:
    return {}


def attended(call: Call, allow: Pair) -> Tensor:
    """One softmax over the keys j for which ``allow(batch, head, query, j)``."""
    out = []
    for b, h, i in call.rows():
        k, v = (x[b, h // call.group] for x in (call.k, call.v))
        keys = [j for j in range(len(k)) if allow(b, h, i, j)]
        out.append(row(call.q[b, h, i], k, v, keys, call.scale))
    return torch.stack(out).view(*call.q.shape[:3], -1)


def weighted(call: Call, logits: Callable[[int, int, int], dict[int, Tensor]]) -> Tensor:
    """Softmax over given logits by key; 0 over none."""
    out = []
    for b, h, i in call.rows():
        v, found = call.v[b, h // call.group], logits(b, h, i)
        if found:
            weights = torch.softmax(torch.stack(list(found.values())), 0)
            out.append(weights @ v[list(found)])
        else:
            out.append(0.0 * v.sum(0))
    return torch.stack(out).view(*call.q.shape[:3], -1)


def members(keys: Iterable[int], length: int) -> Tensor:
    chosen = torch.zeros(length, dtype=torch.bool)
    chosen[list(keys)] = True
    return chosen


def probabilities(call: Call, b: int, h: int, i: int, keys: Iterable[int]) -> dict[int, float]:
    """Softmax weights of one query over some keys."""
    seen = list(keys)
    logits = call.k[b, h // call.group][seen] @ call.q[b, h, i] * call.scale
    return dict(zip(seen, torch.softmax(logits, 0).tolist(), strict=True))


# H2O: a step of decoding, or several, with the same accumulated weights.


def h2o_select(call: Call) -> Sets:
    """The heaviest of the keys that lie more than ``recent`` before the query."""
    heavy, recent = call.params["heavy"], call.params["recent"]
    n = call.k.shape[2]
    chosen = torch.zeros(*call.q.shape[:3], n, dtype=torch.bool)
    for b, h, i in call.rows():
        at = call.offset + i
        scores = {j: float(call.inputs["mass"][b, h, j]) for j in range(max(at - recent, 0))}
        chosen[b, h, i] = members(best(scores, heavy), n)
    return {"oracle": chosen}


def h2o_attend(call: Call, sets: Sets) -> Tensor:
    """A key ``recent`` before the query is neither recent nor looked at as heavy."""
    heavy, recent = call.params["heavy"], call.params["recent"]

    def allow(b: int, h: int, i: int, j: int) -> bool:
        at = call.offset + i
        if j > at:
            return False
        if at <= heavy + recent or at - j < recent:
            return True
        return bool(sets["oracle"][b, h, i, j])

    return attended(call, allow)


# ZipVL: one set of tokens for a layer.


def zipvl_select(call: Call) -> Sets:
    """The budget by sums of weights, the choice by their means over rows that see the key."""
    n, probe = call.k.shape[2], call.inputs["probe"]
    heavy, kept = [], []
    for b in range(len(call.q)):
        total = dict.fromkeys(range(n), 0.0)
        rows = dict.fromkeys(range(n), 0)
        probes = [i for i in range(n) if probe[b, i]]
        for i in probes:
            for j in range(i + 1):
                rows[j] += 1
            for h in range(call.q.shape[1]):
                for j, w in probabilities(call, b, h, i, range(i + 1)).items():
                    total[j] += w
        ranked = sorted(total, key=lambda j: (-total[j], j))
        held, budget = 0.0, []
        for j in ranked:
            budget.append(j)
            held += total[j]
            if held >= call.params["tau"] * sum(total.values()):
                break
        heavy.append(members(budget, n))
        means = {j: total[j] / max(rows[j], 1) for j in range(n)}
        kept.append(members(best(means, len(budget)), n))
    return {"heavy": torch.stack(heavy), "kept": torch.stack(kept)}


def zipvl_attend(call: Call, sets: Sets) -> Tensor:
    kept = sets["kept"]
    return attended(call, lambda b, h, i, j: j <= i and bool(kept[b, i]) and bool(kept[b, j]))


# Queries that are chosen: Zoology and DCAL.


def zoology_select(call: Call) -> Sets:
    if call.params["by"] == "repeated":
        return {}
    n = call.k.shape[2]
    chosen = []
    for b in range(len(call.q)):
        gates = {i: float(call.inputs["gate"][b, i]) for i in range(n)}
        chosen.append(members(best(gates, call.params["topk"]), n))
    return {"best": torch.stack(chosen)}


def zoology_attend(call: Call, sets: Sets) -> Tensor:
    learned = call.params["by"] == "learned"
    token, gate = call.inputs["token"], call.inputs["gate"]

    def allow(b: int, h: int, i: int, j: int) -> bool:
        again = any(token[b, i] == token[b, earlier] for earlier in range(i))
        return j <= i and (bool(sets["best"][b, i]) if learned else again)

    out = attended(call, allow)
    return out * gate[:, None, :, None] if learned else out


def glca_select(call: Call) -> Sets:
    """A share of the patches, by the class token's row of the rollout; the token itself is none."""
    rollout = call.inputs["rollout"]
    n = rollout.shape[1]
    count = max(1, math.floor(call.params["ratio"] * n))
    return {
        "chosen": torch.stack(
            [members(best(dict(enumerate(r.tolist())), count), n) for r in rollout]
        )
    }


def glca_attend(call: Call, sets: Sets) -> Tensor:
    """All keys, the class token's among them; the class token comes first and asks nothing."""
    chosen = sets["chosen"]
    return attended(call, lambda b, h, i, j: i > 0 and bool(chosen[b, i - 1]))


def pwca_attend(call: Call, sets: Sets) -> Tensor:
    return attended(call, lambda b, h, i, j: True)


# RelationNet++: keypoints.


def bvr_select(call: Call) -> Sets:
    quality = call.inputs["quality"]
    chosen = torch.zeros(quality.shape, dtype=torch.bool)
    for b, kind in itertools.product(*(range(n) for n in quality.shape[:2])):
        scores = {p: float(x) for p, x in enumerate(quality[b, kind]) if x > 0}
        chosen[b, kind] = members(best(scores, call.params["topk"]), quality.shape[2])
    return {"points": chosen}


def bvr_attend(call: Call, sets: Sets) -> Tensor:
    """A softmax for each kind of keypoint, summed; the bias is read between the map's entries."""
    at_y, at_x, bias = (call.inputs[n] for n in ("at_y", "at_x", "bias"))
    kinds, points = at_y.shape[1:]
    wide, middle = call.sizes["x"], call.params["radius"]

    def entry(h: int, y: int, x: int) -> Tensor:
        inside = 0 <= y < bias.shape[1] and 0 <= x < bias.shape[2]
        return bias[h, y, x] if inside else bias.new_zeros(())

    def between(h: int, y: Tensor, x: Tensor) -> Tensor:
        top, left = (math.floor(float(z.detach())) for z in (y, x))
        down, right = y - top, x - left
        return (1 - down) * (
            (1 - right) * entry(h, top, left) + right * entry(h, top, left + 1)
        ) + down * ((1 - right) * entry(h, top + 1, left) + right * entry(h, top + 1, left + 1))

    def logits(kind: int, b: int, h: int, i: int) -> dict[int, Tensor]:
        found = {}
        for p in range(points):
            j = kind * points + p
            if sets["points"][b, kind, p]:
                s = call.k[b, h // call.group, j] @ call.q[b, h, i] * call.scale
                y = at_y[b, kind, p] - i // wide + middle
                x = at_x[b, kind, p] - i % wide + middle
                found[j] = s + between(h, y, x)
        return found

    each = [
        weighted(call, lambda b, h, i, kind=kind: logits(kind, b, h, i))  # type: ignore[misc]
        for kind in range(kinds)
    ]
    return torch.stack(each).sum(0)


# Experts as heads, dropped scores, masked keys.


def uoe_select(call: Call) -> Sets:
    """Every token is listed by its best heads; lists are filled to the longest, of a sample or told."""
    route, kept = call.inputs["route"], call.params["kept"]
    batch, heads, n = route.shape
    listed = torch.zeros(route.shape, dtype=torch.bool)
    lists = torch.zeros(route.shape, dtype=torch.bool)
    for b in range(batch):
        for i in range(n):
            scores = {h: float(route[b, h, i]) for h in range(heads)}
            listed[b, list(best(scores, kept or max(heads // 2, 1))), i] = True
        longest = int(call.inputs.get("longest", listed[b].sum(-1).max()))
        for h in range(heads):
            own = [i for i in range(n) if listed[b, h, i]]
            others = [i for i in range(n) if not listed[b, h, i]]
            lists[b, h, own + others[: longest - len(own)]] = True
    return {"listed": listed, "lists": lists}


def uoe_attend(call: Call, sets: Sets) -> Tensor:
    """Compacted lists keep the order of their tokens, so that causal is causal."""
    lists, causal, pad = sets["lists"], call.params["causal"], call.inputs.get("pad")

    def allow(b: int, h: int, i: int, j: int) -> bool:
        there = bool(lists[b, h, i]) and bool(lists[b, h, j])
        return there and (j <= i or not causal) and (pad is None or not pad[b, j])

    return attended(call, allow)


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def adem_select(call: Call) -> Sets:
    m = call.k.shape[2]
    kept = torch.zeros(*call.q.shape[:3], m, dtype=torch.bool)
    for b, h, i in call.rows():
        scores = [float(_silu(call.q[b, h, i]) @ _silu(k)) for k in call.k[b, h // call.group]]
        threshold = sorted(scores)[math.floor(call.params["drop"] * m)]
        kept[b, h, i] = torch.tensor([s >= threshold for s in scores])
    return {"kept": kept}


def adem_attend(call: Call, sets: Sets) -> Tensor:
    """Scores are weights: no softmax, no scale."""
    out = []
    for b, h, i in call.rows():
        k, v = (x[b, h // call.group] for x in (call.k, call.v))
        weights = _silu(k) @ _silu(call.q[b, h, i])
        out.append(torch.where(sets["kept"][b, h, i], weights, 0.0) @ v)
    return torch.stack(out).view(*call.q.shape[:3], -1)


def stkim_select(call: Call) -> Sets:
    """Of the ``top`` keys of every row, a share by the largest draws."""
    m = call.k.shape[2]
    top = min(call.params["top"], m)
    strong = torch.zeros(*call.q.shape[:3], m, dtype=torch.bool)
    dropped = torch.zeros_like(strong)
    for b, h, i in call.rows():
        scores = {j: float(call.q[b, h, i] @ k) for j, k in enumerate(call.k[b, h // call.group])}
        strongest = best(scores, top)
        draws = {j: float(call.inputs["draw"][b, h, i, j]) for j in strongest}
        strong[b, h, i] = members(strongest, m)
        dropped[b, h, i] = members(best(draws, math.floor(call.params["ratio"] * top)), m)
    return {"strongest": strong, "dropped": dropped}


def stkim_attend(call: Call, sets: Sets) -> Tensor:
    dropped = sets["dropped"]
    return attended(call, lambda b, h, i, j: not bool(dropped[b, h, i, j]))


ORACLES = {
    "h2o": Oracle(h2o_select, h2o_attend),
    "zipvl": Oracle(zipvl_select, zipvl_attend),
    "zoology_selective": Oracle(zoology_select, zoology_attend),
    "dcal_glca": Oracle(glca_select, glca_attend),
    "dcal_pwca": Oracle(nothing, pwca_attend),
    "bvr_keysample": Oracle(bvr_select, bvr_attend),
    "uoe_smha": Oracle(uoe_select, uoe_attend),
    "adem_vl": Oracle(adem_select, adem_attend),
    "acmil_stkim": Oracle(stkim_select, stkim_attend),
}
