"""Keys found without scoring all pairs: HiP, Sparsifiner, HyperAttention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, every_row, softmax


def hip_select(call: Call) -> Sets:
    """The search of one block of queries after the other: which units, or chunks of each stage."""
    p, n = call.params, call.k.shape[2]
    size_q, size_k = p["block_q"], p["block_k"]
    batch, heads = call.q.shape[:2]
    chunks = {"found": size_k}
    if p["by"] == "stages":
        chunks = {"left_1": p["chunk_1"], "left_2": p["chunk_2"], "left_3": size_k}
    sets = {
        name: torch.zeros(batch, heads, -(-n // size_q), -(-n // size), dtype=torch.bool)
        for name, size in chunks.items()
    }
    for b in range(batch):
        for h in range(heads):
            for a in range(-(-n // size_q)):
                stop = min((a + 1) * size_q, n)
                rows = call.q[b, h, a * size_q : stop]
                keys = call.k[b, h // call.group, :stop]
                asking = rows[1::2] if len(rows) > 1 else rows
                search = _staged if p["by"] == "stages" else _searched
                for name, chosen in search(asking, keys, p).items():
                    sets[name][b, h, a, chosen] = True
    return sets


def _score(rows: Tensor, keys: Tensor, run: tuple[int, int], p: dict[str, Any]) -> float:
    """What a run of units is worth: its first, or the one at its centre."""
    start, stop = run
    unit = start + (stop - start) // 2 if p["representative"] == "centre" else start
    return float((rows @ keys[unit * p["block_k"] : (unit + 1) * p["block_k"]].T).max())


def _staged(rows: Tensor, keys: Tensor, p: dict[str, Any]) -> dict[str, list[int]]:
    """Chunks of what the stage before has left, in units; the window is taken off the end first."""
    units = -(-max(len(keys) - p["window"], 0) // p["block_k"])
    left, found = [(0, units)], {}
    stages = ((p["chunk_1"], p["keep_1"]), (p["chunk_2"], p["keep_2"]), (p["block_k"], p["mask_k"]))
    for number, (chunk, keep) in enumerate(stages, 1):
        size = chunk // p["block_k"]
        pieces = [
            (start, min(start + size, stop))
            for begin, stop in left
            for start in range(begin, stop, size)
        ]
        ranked = sorted(pieces, key=lambda run: (-_score(rows, keys, run, p), run))
        left = sorted(ranked[: -(-keep // chunk)])
        found[f"left_{number}"] = [start // size for start, _ in left]
    return found


def _searched(rows: Tensor, keys: Tensor, p: dict[str, Any]) -> dict[str, list[int]]:
    """Units of keys; the window is taken off the end first."""
    size = p["block_k"]
    units = -(-max(len(keys) - p["window"], 0) // size)
    m = -(-p["mask_k"] // size)
    if units <= m:
        return {"found": list(range(units))}
    nodes = [(units * t // m, units * (t + 1) // m) for t in range(m)]
    nominal = units / m
    while nominal > 1:
        halves = []
        for start, stop in nodes:
            middle = start + (stop - start) // 2
            halves += [(start, middle), (middle, stop)]
        alive = [half for half in halves if half[0] < half[1]]  # an empty half is never taken
        nodes = sorted(sorted(alive, key=lambda half: (-_score(rows, keys, half, p), half))[:m])
        nominal /= 2
    return {"found": [start for start, _ in nodes]}


def hip_attend(call: Call, sets: Sets) -> Tensor:
    p, found = call.params, sets["left_3" if call.params["by"] == "stages" else "found"]

    def keys(b: int, h: int, i: int) -> list[int]:
        units = found[b, h, i // p["block_q"]]
        return [
            j
            for j in range(i + 1)
            if i - j < p["window"] or j < p["sinks"] or units[j // p["block_k"]]
        ]

    return every_row(call, keys)


def sparsifiner_select(call: Call) -> Sets:
    """Each patch's share of the tokens by the product of the factors; nothing of the class token."""
    coefficients, basis = call.inputs["coefficients"], call.inputs["basis"]
    n = call.k.shape[2]
    chosen = torch.zeros(*call.q.shape[:3], n, dtype=torch.bool)
    for b, h, i in call.rows():
        if i > 0:
            scores = {j: float(coefficients[b, h, i] @ basis[j]) for j in range(n)}
            kept = best(scores, math.ceil(call.params["keep"] * n))
            if call.params["by"] == "threshold":
                kept = {j for j, x in scores.items() if x > call.params["threshold"]}
            chosen[b, h, i, list(kept)] = True
    return {"chosen": chosen}


def sparsifiner_attend(call: Call, sets: Sets) -> Tensor:
    every = list(range(call.k.shape[2]))
    chosen = sets["chosen"]
    return every_row(
        call, lambda b, h, i: every if i == 0 else chosen[b, h, i].nonzero().flatten().tolist()
    )


def unit_hamming(bits: int) -> list[int]:
    """All numbers of so many bits, each one bit from the one before."""
    if bits == 0:
        return [0]
    shorter = unit_hamming(bits - 1)
    return shorter + [x + 2 ** (bits - 1) for x in reversed(shorter)]


def hyper_places(x: Tensor, directions: Tensor) -> list[int]:
    """Where each row of ``x [N, D]`` stands when they are sorted by their hash, stably."""
    order = unit_hamming(len(directions))
    hashes = [order[sum(2**r for r, d in enumerate(directions) if row @ d > 0)] for row in x]
    ranked = sorted(range(len(x)), key=lambda i: (hashes[i], i))
    return [ranked.index(i) for i in range(len(x))]


@dataclass(frozen=True)
class Met:
    """Queries that meet keys by the routine without a mask. level: how often the two were doubled."""

    queries: range
    keys: range
    level: int


def hyper_recursion(n: int, params: dict[str, int]) -> tuple[list[Met], list[range]]:
    """What meets by the routine, and the runs of tokens that attend their past exactly.

    A causal sequence that is longer than ``min_seq`` is halved, as if it could be halved evenly all
    the way; the queries of the second half meet the keys of the first.
    """
    if not params.get("causal"):
        return [Met(range(n), range(n), 0)], []
    parts = 1
    while -(-n // parts) > params["min_seq"]:
        parts *= 2
    size = -(-n // parts)
    met: list[Met] = []
    exact: list[range] = []

    def recurse(start: int, parts: int, level: int) -> None:
        if parts == 1:
            exact.append(range(start, min(start + size, n)))
            return
        middle, stop = start + parts // 2 * size, start + parts * size
        recurse(start, parts // 2, level - 1)
        if middle < n:
            met.append(Met(range(middle, min(stop, n)), range(start, middle), level - 1))
            recurse(middle, parts // 2, level - 1)

    recurse(0, parts, parts.bit_length() - 1)
    return met, exact


def hyper_select(call: Call) -> Sets:
    directions, size = call.inputs["R"], call.params["block"]
    n, bits = call.q.shape[2], len(directions)
    near = torch.zeros(*call.q.shape[:3], n, dtype=torch.bool)
    sets = {}
    for side, x in (("q", call.q), ("k", call.k)):
        signs = x @ directions.T > 0
        sets[f"{side}_signs"] = signs
        above = torch.cat((signs[..., 1:], torch.zeros_like(signs[..., :1])), -1)
        sets[f"{side}_code"] = signs ^ above
        assert signs.shape[-1] == bits
    for b in range(len(call.q)):
        for h in range(call.q.shape[1]):
            for met in hyper_recursion(n, call.params)[0]:
                asking = hyper_places(call.q[b, h, list(met.queries)], directions)
                asked = hyper_places(call.k[b, h, list(met.keys)], directions)
                for i, place in zip(met.queries, asking, strict=True):
                    for j, other in zip(met.keys, asked, strict=True):
                        near[b, h, i, j] = place // size == other // size
    return {**sets, "near": near}


def hyper_attend(call: Call, sets: Sets) -> Tensor:
    """Softmaxes merged by their log-sum-exps: of the past in short runs, and where tokens meet, of
    the block and of the samples. A key that is drawn twice stands there twice."""
    p, n, out = call.params, call.k.shape[2], []
    met, exact = hyper_recursion(n, p)
    for b, h, i in call.rows():
        k, v = call.k[b, h], call.v[b, h]
        branches = [([j for j in run if j <= i], 0.0) for run in exact if i in run]
        for here in (x for x in met if i in x.queries):
            own = [j for j in here.keys if sets["near"][b, h, i, j]]
            branches.append((own, 0.0))
            if p["sampling"] == "first":
                branches.append((list(here.keys[: p["samples"]]), 0.0))
                continue
            times = call.inputs["drawn"][b, h, n * here.level : n * here.level + n]
            others = [j for j in here.keys if j not in own for _ in range(int(times[j]))]
            branches.append((others, math.log(len(here.keys) / p["samples"])))
        parts = []
        for keys, extra in branches:
            if keys:
                s = k[keys] @ call.q[b, h, i] * call.scale
                parts.append((torch.logsumexp(s, 0) + extra, torch.softmax(s, 0) @ v[keys]))
        if not parts:
            out.append(0.0 * v.sum(0))
            continue
        weights = torch.softmax(torch.stack([lse for lse, _ in parts]), 0)
        out.append(sum(w * o for w, (_, o) in zip(weights, parts, strict=True)))
    return torch.stack(out).view(*call.q.shape[:3], -1)


def sections(is_mem: Tensor) -> list[int]:
    """How many landmarks stand before each token of one sequence."""
    return [int(is_mem[:j].sum()) for j in range(len(is_mem))]


def landmark_select(call: Call) -> Sets:
    """The blocks before the query's section, or the best of them by their landmarks' scores."""
    p, n = call.params, call.k.shape[2]
    count = n // (p["block"] + 1) + 1
    chosen = torch.zeros(*call.q.shape[:3], count, dtype=torch.bool)
    weights: dict[tuple[int, int, int], dict[int, float]] = {}
    for b, h, i in call.rows():
        is_mem = call.inputs["is_mem"][b]
        marks = is_mem.nonzero().flatten().tolist()
        k = call.k[b, h // call.group]
        scores = {c: float(call.q[b, h, i] @ k[j]) for c, j in enumerate(marks) if j < i}
        weights[b, h, i] = softmax({c: call.scale * s for c, s in scores.items()})
    few, shared = p["topk"] or count, p["choice"]
    found = {"chosen": chosen}
    if shared == "token":  # one choice for all heads of a token
        found["of_token"] = torch.zeros(chosen[:, 0].shape, dtype=torch.bool)
    elif shared == "head":  # one choice for all tokens of a head
        found["of_head"] = torch.zeros(*chosen.shape[:2], count, dtype=torch.bool)
    for (b, h, i), own in weights.items():
        if shared == "token_head":
            chosen[b, h, i, list(best(own, few))] = True
            continue
        every = range(count) if shared == "head" else own
        alike = [
            x
            for (b2, h2, i2), x in weights.items()
            if b2 == b and (i2 == i if shared == "token" else h2 == h)
        ]
        largest = {c: max(x.get(c, 0.0) for x in alike) for c in every}
        kept = best(largest, few)
        chosen[b, h, i, [c for c in kept if c in own]] = True
        if shared == "token":
            found["of_token"][b, i, list(kept)] = True
        else:
            found["of_head"][b, h, list(kept)] = True
    return found


def landmark_attend(call: Call, sets: Sets) -> Tensor:
    """Grouped softmax, group by group."""
    out = []
    for b, h, i in call.rows():
        is_mem, (k, v) = call.inputs["is_mem"][b], (x[b, h // call.group] for x in (call.k, call.v))
        beta, marks = sections(is_mem), is_mem.nonzero().flatten().tolist()
        s = k @ call.q[b, h, i] * call.scale
        own = [j for j in range(i + 1) if beta[j] == beta[i] and not is_mem[j]]
        blocks = [c for c in range(beta[i]) if sets["chosen"][b, h, i, c]]
        first = [*own, *(marks[c] for c in blocks)]
        found = 0.0 * v.sum(0) + 0.0 * s.sum()
        if first:
            weights = torch.softmax(s[first], 0)
            found = found + weights[: len(own)] @ v[own]
            for weight, c in zip(weights[len(own) :], blocks, strict=True):
                members = [j for j in range(len(k)) if beta[j] == c and not is_mem[j]]
                if members:
                    found = found + weight * (torch.softmax(s[members], 0) @ v[members])
        out.append(found)
    return torch.stack(out).view(*call.q.shape[:3], -1)


def probsparse_select(call: Call) -> Sets:
    """The queries whose best sampled product lies furthest above the sum of all sampled by the number
    of keys."""
    factor, drawn = call.params["factor"], call.inputs["drawn"]
    n_q, n_k = call.q.shape[2], call.k.shape[2]
    count = min(factor * math.ceil(math.log(n_q)), n_q)
    active = torch.zeros(*call.q.shape[:3], dtype=torch.bool)
    for b in range(len(call.q)):
        for h in range(call.q.shape[1]):
            measure = {}
            for i in range(n_q):
                ids = [j for j in range(n_k) for _ in range(int(drawn[i, j]))]
                if ids:
                    s = call.k[b, h // call.group][ids] @ call.q[b, h, i]
                    measure[i] = float(s.max() - s.sum() / n_k)
            active[b, h, list(best(measure, count))] = True
    return {"active": active[..., None]}


def probsparse_attend(call: Call, sets: Sets) -> Tensor:
    dense = every_row(call, lambda b, h, i: range(call.k.shape[2]))
    mean = call.v.mean(2, keepdim=True).repeat_interleave(call.group, 1)
    return torch.where(sets["active"], dense, mean)


ORACLES = {
    "hip_attention": Oracle(hip_select, hip_attend),
    "hyper_attention": Oracle(hyper_select, hyper_attend),
    "landmark_grouped": Oracle(landmark_select, landmark_attend),
    "probsparse": Oracle(probsparse_select, probsparse_attend),
    "sparsifiner": Oracle(sparsifiner_select, sparsifiner_attend),
}
