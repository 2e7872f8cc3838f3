"""Queries that choose blocks of keys on a sequence: MoBA, NSA, SeerAttention, InfLLM-V2."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

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


def nsa_runs(call: Call) -> list[tuple[int, int]]:
    """The tokens that each mean is of: the blocks, or overlapping runs."""
    p = call.params
    size, step = (p["block"],) * 2 if p["form"] == "code" else (p["kernel"], p["stride"])
    return [(s, s + size) for s in range(0, call.k.shape[2] - size + 1, step)]


def nsa_importance(call: Call, weights: dict[int, float], count: int) -> dict[int, float]:
    """Of the blocks, from the weights of the means.

    The paper's equation 9 with indices from 1: p_slc[j] is the sum of p_cmp[j l'/d - m - n] over
    0 <= m < l'/d and 0 <= n < l/d.
    """
    p = call.params
    if p["form"] == "code":
        return dict(weights)
    strides, reach = p["block"] // p["stride"], p["kernel"] // p["stride"]
    found: dict[int, float] = {}
    for j in range(1, count + 1):
        for m in range(strides):
            for n in range(reach):
                run = j * strides - m - n
                if run - 1 in weights:
                    found[j - 1] = found.get(j - 1, 0.0) + weights[run - 1]
    return found


def nsa_run(call: Call, what: str, b: int, u: int, c: int) -> Tensor:
    """The key or value of a run: a mean, or what a compression of the branch's own made of it."""
    if call.params["keys"] == "own":
        return call.inputs[f"coarse_{what}"][b, u, c]
    return mean_of((call.k if what == "key" else call.v)[b, u], *nsa_runs(call)[c])


def nsa_select(call: Call) -> Sets:
    """Importance is the branch of means' softmax, summed over the group; forced blocks are first."""
    p, group = call.params, call.group
    heads, count = call.k.shape[1], blocks(call.k.shape[2], p["block"])
    chosen = torch.zeros(call.q.shape[0], heads, call.q.shape[2], count, dtype=torch.bool)
    initial, local = (0, 1) if p["form"] == "code" else (p["initial"], p["local"])
    runs = nsa_runs(call)
    for b, u in itertools.product(range(len(call.q)), range(heads)):
        means = [nsa_run(call, "key", b, u, c) for c in range(len(runs))]
        for i in range(call.q.shape[2]):
            own = (call.offset + i) // p["block"]
            total: dict[int, float] = {}
            for h in range(u * group, (u + 1) * group):
                scores = {
                    c: float(means[c] @ call.q[b, h, i]) * call.scale
                    for c, (_, stop) in enumerate(runs)
                    if stop - 1 <= call.offset + i
                }
                for c, x in softmax(scores).items():
                    total[c] = total.get(c, 0.0) + x
            forced = {c for c in range(own + 1) if c < initial or c > own - local}
            chosen[b, u, i, list(best(nsa_importance(call, total, count), p["topk"], forced))] = (
                True
            )
    return {"chosen": chosen}


def nsa_attend(call: Call, sets: Sets) -> Tensor:
    fine = past_blocks(call, sets["chosen"], call.group)
    window, runs = call.params["window"], nsa_runs(call)
    own = call.params["keys"] == "own"
    last = replace(call, k=call.inputs["near_key"], v=call.inputs["near_value"]) if own else call
    near = every_row(
        last,
        lambda b, h, i: range(max(call.offset + i - window + 1, 0), call.offset + i + 1),
    )
    coarse = []
    for b, h, i in call.rows():
        seen = [c for c, (_, stop) in enumerate(runs) if stop - 1 <= call.offset + i]
        u = h // call.group
        means, values = (
            torch.stack([nsa_run(call, what, b, u, c) for c in seen]) if seen else x[b, u, :0]
            for what, x in (("key", call.k), ("value", call.v))
        )
        coarse.append(row(call.q[b, h, i], means, values, range(len(seen)), call.scale))
    gate = call.inputs["gate"][:, :, call.offset :]
    branches = torch.stack([torch.stack(coarse).view_as(fine), fine, near], -1)
    return (branches * gate[..., None, :]).sum(-1)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Features i and i + D / 2 of ``x [D]`` turned by ``angles[i]``."""
    half, found = len(angles), x.clone()
    for i, angle in enumerate(angles.tolist()):
        a, b = float(x[i]), float(x[i + half])
        found[i] = a * math.cos(angle) - b * math.sin(angle)
        found[i + half] = a * math.sin(angle) + b * math.cos(angle)
    return found


def seer_asking(call: Call, b: int, h: int, i: int) -> Tensor:
    """The gate's query: of block ``i``, or of query ``i`` the sum over the heads of its key head."""
    raw, w, p = call.inputs["raw_q"][b], call.inputs["wq"], call.params
    if p["stage"] == "prefill":
        at = i * p["block"]
        made = w[h] @ mean_of(raw[h], at, at + p["block"])
    else:
        at, first = call.offset + i, h // call.group * call.group
        made = torch.stack([w[x] @ raw[x, i] for x in range(first, first + call.group)]).sum(0)
    return turned(made, call.inputs["frequency"] * at)


def seer_asked(call: Call, b: int, u: int, c: int) -> Tensor:
    """The gate's key of block ``c``: its largest, smallest and mean features, projected."""
    size = call.params["block"]
    keys = call.inputs["raw_k"][b, u, c * size : (c + 1) * size]
    pools = torch.tensor(
        [
            kind(x.tolist())
            for kind in (max, min, lambda x: sum(x) / len(x))
            for x in keys.unbind(1)
        ],
        dtype=keys.dtype,
    )
    made = call.inputs["wk"][u] @ pools
    return turned(made, call.inputs["frequency"] * c * size)


def seer_logits(call: Call) -> Tensor:
    """Of the gate: for every row of blocks (or query) and every block of keys."""
    if call.params["given"] == "logits":
        return call.inputs["gate"]
    size = call.params["block"]
    rows = blocks(call.q.shape[2], size if call.params["stage"] == "prefill" else 1)
    shape = (*call.q.shape[:2], rows, blocks(call.k.shape[2], size))
    found = call.q.new_zeros(shape)
    decoding = call.params["stage"] == "decode"
    for b, h, i, c in itertools.product(*map(range, shape)):
        if decoding and (c + 1) * size > call.offset + i + 1:  # not full, or to come
            continue
        score = seer_asking(call, b, h, i) @ seer_asked(call, b, h // call.group, c)
        found[b, h, i, c] = float(score) / math.sqrt(call.params["gate_dim"])
    return found


def seer_select(call: Call) -> Sets:
    """Blocks by blocks in the lower triangle, the last rows whole; or blocks for each query."""
    gate, p = seer_logits(call), call.params
    rows, count = gate.shape[2:]
    chosen = torch.zeros(gate.shape, dtype=torch.bool)
    for b, h, i in itertools.product(*map(range, gate.shape[:3])):
        decoding = p["stage"] == "decode"
        own = (call.offset + i) // p["block"] if decoding else i
        logits = {c: float(gate[b, h, i, c]) for c in range(own + 1)}
        forced = {own} if decoding else set(logits) if i >= rows - p["dense"] else set()
        if p["by"] == "threshold":
            likely = {c for c, x in softmax(logits).items() if x > p["threshold"]}
            chosen[b, h, i, list(likely | forced)] = True
        else:
            share = max(1, math.floor((1 - math.sqrt(1 - p["ratio"])) * count))
            keep = p["topk"] if decoding else share
            chosen[b, h, i, list(best(logits, keep, forced))] = True
    return {"decoded" if p["stage"] == "decode" else "prefilled": chosen}


def seer_attend(call: Call, sets: Sets) -> Tensor:
    (chosen,) = sets.values()
    if call.params["stage"] == "prefill":
        chosen = chosen.repeat_interleave(call.params["block"], 2)
    return past_blocks(call, chosen)


def infllm_windows(call: Call, times: int) -> list[tuple[int, int]]:
    """Windows of keys, `times` as long and as far apart."""
    size, step = call.params["kernel"] * times, call.params["stride"] * times
    return [(s, s + size) for s in range(0, call.k.shape[2] - size + 1, step)]


def infllm_weights(call: Call, b: int, h: int, i: int) -> dict[int, float]:
    """Of the windows that the query has passed: exp(q k / sqrt(d)) over the sum of these, or over
    that of the coarse windows."""
    coarse = call.params["normaliser"] == "coarse"
    keys = call.k[b, h // call.group]

    def exponentials(times: int) -> dict[int, float]:
        return {
            c: math.exp(float(call.q[b, h, i] @ mean_of(keys, s, t)) * call.scale)
            for c, (s, t) in enumerate(infllm_windows(call, times))
            if t - 1 <= call.offset + i
        }

    found = exponentials(1)
    total = sum(exponentials(4 if coarse else 1).values())
    return {c: x / total if total else 1.0 for c, x in found.items()}


def infllm_select(call: Call) -> Sets:
    """The largest of the group's weights of the windows that touch a block."""
    p, group = call.params, call.group
    heads, count = call.k.shape[1], blocks(call.k.shape[2], p["block"])
    chosen = torch.zeros(call.q.shape[0], heads, call.q.shape[2], count, dtype=torch.bool)
    windows = infllm_windows(call, 1)
    for b, u, i in itertools.product(*map(range, chosen.shape[:3])):
        total: dict[int, float] = {}
        for h in range(u * group, (u + 1) * group):
            for c, x in infllm_weights(call, b, h, i).items():
                total[c] = total.get(c, 0.0) + x
        scores: dict[int, float] = {}
        for c, x in total.items():
            start, stop = windows[c]
            for block in range(start // p["block"], (stop - 1) // p["block"] + 1):
                scores[block] = max(scores.get(block, 0.0), x)
        own = (call.offset + i) // p["block"]
        forced = {x for x in range(own + 1) if x < p["init"] or x >= own - p["local"]}
        chosen[b, u, i, list(best(scores, p["topk"], forced))] = True
    return {"chosen": chosen}


def infllm_attend(call: Call, sets: Sets) -> Tensor:
    """The chosen blocks; short sequences in full."""
    short = call.k.shape[2] <= call.params["dense_len"]
    return past_blocks(call, sets["chosen"] | short, call.group)


ORACLES = {
    "moba": Oracle(moba_select, lambda call, sets: past_blocks(call, sets["chosen"])),
    "nsa": Oracle(nsa_select, nsa_attend),
    "seer_attention": Oracle(seer_select, seer_attend),
    "infllm_v2": Oracle(infllm_select, infllm_attend),
}
