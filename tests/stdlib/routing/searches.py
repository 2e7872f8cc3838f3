"""Keys found without scoring all pairs: HiP, Sparsifiner, HyperAttention."""

from __future__ import annotations

import math

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, every_row


def hip_select(call: Call) -> Sets:
    """The tree search of one block of queries after the other, as in the first published code."""
    p, n = call.params, call.k.shape[2]
    size_q, size_k = p["block_q"], p["block_k"]
    batch, heads = call.q.shape[:2]
    found = torch.zeros(batch, heads, -(-n // size_q), -(-n // size_k), dtype=torch.bool)
    for b in range(batch):
        for h in range(heads):
            for a in range(found.shape[2]):
                stop = min((a + 1) * size_q, n)
                rows = call.q[b, h, a * size_q : stop]
                keys = call.k[b, h // call.group, :stop]
                chosen = _searched(rows[1::2] if len(rows) > 1 else rows, keys, p)
                found[b, h, a, chosen] = True
    return {"found": found}


def _searched(rows: Tensor, keys: Tensor, p: dict[str, int]) -> list[int]:
    """Units of keys; the window is taken off the end first."""
    size = p["block_k"]
    units = -(-max(len(keys) - p["window"], 0) // size)
    m = -(-p["mask_k"] // size)
    if units <= m:
        return list(range(units))

    def score(unit: int) -> float:
        return float((rows @ keys[unit * size : (unit + 1) * size].T).max())

    nodes = [(units * t // m, units * (t + 1) // m) for t in range(m)]
    nominal = units / m
    while nominal > 1:
        halves = []
        for start, stop in nodes:
            middle = start + (stop - start) // 2
            halves += [(start, middle), (middle, stop)]
        alive = [half for half in halves if half[0] < half[1]]  # an empty half is never taken
        nodes = sorted(sorted(alive, key=lambda half: (-score(half[0]), half))[:m])
        nominal /= 2
    return [start for start, _ in nodes]


def hip_attend(call: Call, sets: Sets) -> Tensor:
    p, found = call.params, sets["found"]

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
            chosen[b, h, i, list(best(scores, math.ceil(call.params["keep"] * n)))] = True
    return {"chosen": chosen}


def sparsifiner_attend(call: Call, sets: Sets) -> Tensor:
    every = list(range(call.k.shape[2]))
    chosen = sets["chosen"]
    return every_row(
        call, lambda b, h, i: every if i == 0 else chosen[b, h, i].nonzero().flatten().tolist()
    )


ORACLES = {
    "hip_attention": Oracle(hip_select, hip_attend),
    "sparsifiner": Oracle(sparsifiner_select, sparsifiner_attend),
}
