"""Queries that choose blocks of keys on a sequence: MoBA, NSA, SeerAttention, InfLLM-V2."""

from __future__ import annotations

import math

import torch

from tests.stdlib.routing.oracle import (
    Call,
    Oracle,
    Sets,
    Tensor,
    best,
    blocks,
    every_row,
    mean_of,
    row,
    softmax,
)


def past_blocks(call: Call, chosen: Tensor, group: int = 1) -> Tensor:
    """Softmax over the keys at or before the query whose block is in ``chosen [B, H', Nq, R]``."""
    size = call.params["block"]
    return every_row(
        call,
        lambda b, h, i: [
            j for j in range(call.offset + i + 1) if chosen[b, h // group, i, j // size]
        ],
    )


def moba_select(call: Call) -> Sets:
    """The own block, and the past blocks of the largest ``q . mean(k)``, ``topk`` in all."""
    size, topk = call.params["block"], call.params["topk"]
    chosen = torch.zeros(*call.q.shape[:3], blocks(call.k.shape[2], size), dtype=torch.bool)
    for b, h, i in call.rows():
        own = (call.offset + i) // size
        keys = call.k[b, h // call.group]
        scores = {
            c: float(call.q[b, h, i] @ mean_of(keys, c * size, (c + 1) * size)) for c in range(own)
        }
        chosen[b, h, i, list(best(scores, topk, [own]))] = True
    return {"chosen": chosen}


def _nsa_blocks(call: Call, b: int, h: int, i: int) -> tuple[Tensor, Tensor]:
    """Means of the blocks that the query has passed, ``[blocks, D]``: sums over ``block`` slots."""
    size = call.params["block"]
    passed = (call.offset + i + 1) // size
    keys, values = (x[b, h // call.group][: passed * size] for x in (call.k, call.v))
    return tuple(x.view(passed, size, x.shape[1]).sum(1) / size for x in (keys, values))  # type: ignore[return-value]


def nsa_select(call: Call) -> Sets:
    """Importance is the branch of means' softmax, summed over the group; forced blocks are first."""
    p, group = call.params, call.group
    heads, count = call.k.shape[1], blocks(call.k.shape[2], p["block"])
    chosen = torch.zeros(call.q.shape[0], heads, call.q.shape[2], count, dtype=torch.bool)
    for b in range(len(call.q)):
        for u in range(heads):
            for i in range(call.q.shape[2]):
                own = (call.offset + i) // p["block"]
                total: dict[int, float] = {}
                for h in range(u * group, (u + 1) * group):
                    means, _ = _nsa_blocks(call, b, h, i)
                    scores = {
                        c: float(m @ call.q[b, h, i]) * call.scale for c, m in enumerate(means)
                    }
                    for c, x in softmax(scores).items():
                        total[c] = total.get(c, 0.0) + x
                forced = {c for c in range(own + 1) if c < p["initial"] or c > own - p["local"]}
                chosen[b, u, i, list(best(total, p["topk"], forced))] = True
    return {"chosen": chosen}


def nsa_attend(call: Call, sets: Sets) -> Tensor:
    fine = past_blocks(call, sets["chosen"], call.group)
    window = call.params["window"]
    near = every_row(
        call,
        lambda b, h, i: range(max(call.offset + i - window + 1, 0), call.offset + i + 1),
    )
    coarse = []
    for b, h, i in call.rows():
        means, values = _nsa_blocks(call, b, h, i)
        coarse.append(row(call.q[b, h, i], means, values, range(len(means)), call.scale))
    gate = call.inputs["gate"][:, :, call.offset :]
    branches = torch.stack([torch.stack(coarse).view_as(fine), fine, near], -1)
    return (branches * gate[..., None, :]).sum(-1)


def seer_select(call: Call) -> Sets:
    """Blocks by blocks, in the lower triangle; the last two rows see all of it."""
    gate, p = call.inputs["gate"], call.params
    likely = torch.zeros(gate.shape, dtype=torch.bool)
    top = torch.zeros(gate.shape, dtype=torch.bool)
    rows, count = gate.shape[2:]
    keep = max(1, math.floor((1 - math.sqrt(1 - p["ratio"])) * count))
    for b in range(gate.shape[0]):
        for h in range(gate.shape[1]):
            for i in range(rows):
                logits = {c: float(gate[b, h, i, c]) for c in range(i + 1)}
                if i >= rows - 2:
                    likely[b, h, i, : i + 1] = top[b, h, i, : i + 1] = True
                    continue
                for c, x in softmax(logits).items():
                    likely[b, h, i, c] = x > p["threshold"]
                top[b, h, i, list(best(logits, keep))] = True
    return {"likely": likely} if p["by"] == "threshold" else {"best": top}


def seer_attend(call: Call, sets: Sets) -> Tensor:
    (chosen,) = sets.values()
    return past_blocks(call, chosen.repeat_interleave(call.params["block"], 2))


def infllm_select(call: Call) -> Sets:
    """The largest of the group's softmax weights of the windows that touch a block."""
    p, group = call.params, call.group
    heads, n_k = call.k.shape[1:3]
    chosen = torch.zeros(
        call.q.shape[0], heads, call.q.shape[2], blocks(n_k, p["block"]), dtype=torch.bool
    )
    windows = [(s, s + p["kernel"]) for s in range(0, n_k - p["kernel"] + 1, p["stride"])]
    for b in range(len(call.q)):
        for u in range(heads):
            means = [call.k[b, u, s:t].mean(0) for s, t in windows]
            for i in range(call.q.shape[2]):
                at = call.offset + i
                total = [0.0] * len(windows)
                seen = [c for c, (_, stop) in enumerate(windows) if stop - 1 <= at]
                for h in range(u * group, (u + 1) * group):
                    logits = {c: float(call.q[b, h, i] @ means[c]) * call.scale for c in seen}
                    for c, x in softmax(logits).items():
                        total[c] += x
                scores: dict[int, float] = {}
                for c in seen:
                    start, stop = windows[c]
                    for block in range(start // p["block"], (stop - 1) // p["block"] + 1):
                        scores[block] = max(scores.get(block, 0.0), total[c])
                own = at // p["block"]
                forced = {x for x in range(own + 1) if x < p["init"] or x >= own - p["local"]}
                chosen[b, u, i, list(best(scores, p["topk"], forced))] = True
    return {"chosen": chosen}


def by_key_head(call: Call, sets: Sets) -> Tensor:
    return past_blocks(call, sets["chosen"], call.group)


ORACLES = {
    "moba": Oracle(moba_select, lambda call, sets: past_blocks(call, sets["chosen"])),
    "nsa": Oracle(nsa_select, nsa_attend),
    "seer_attention": Oracle(seer_select, seer_attend),
    "infllm_v2": Oracle(infllm_select, by_key_head),
}
