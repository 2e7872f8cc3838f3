"""Queries that choose blocks of keys: MoBA."""

from __future__ import annotations

import torch

from tests.oracles.routing import Call, Oracle, Sets, Tensor, best, blocks, every_row, mean_of


def moba_select(call: Call) -> Sets:
    """The own block, and the past blocks of the largest ``q . mean(k)``, ``topk`` in all."""
    size, topk = call.params["block"], call.params["topk"]
    n_k = call.k.shape[2]
    chosen = torch.zeros(*call.q.shape[:3], blocks(n_k, size), dtype=torch.bool)
    for b, h, i in call.rows():
        at = call.offset + i
        own = at // size
        keys = call.k[b, h // call.group]
        scores = {
            c: float(call.q[b, h, i] @ mean_of(keys, c * size, (c + 1) * size)) for c in range(own)
        }
        chosen[b, h, i, list(best(scores, topk, [own]))] = True
    return {"chosen": chosen}


def moba_attend(call: Call, sets: Sets) -> Tensor:
    size = call.params["block"]
    return every_row(
        call,
        lambda b, h, i: [
            j for j in range(call.offset + i + 1) if sets["chosen"][b, h, i, j // size]
        ],
    )


ORACLES = {"moba": Oracle(moba_select, moba_attend)}
