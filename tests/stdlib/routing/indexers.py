"""Choosing single tokens: DeepSeek Sparse Attention, Routing Transformers."""

from __future__ import annotations

import itertools

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, every_row, row


def dsa_select(call: Call) -> Sets:
    """Per query the past tokens of the largest sum over indexer heads of w relu(q k)."""
    index_q, index_k, weight = (call.inputs[n] for n in ("index_q", "index_k", "weight"))
    chosen = torch.zeros(call.q.shape[0], call.q.shape[2], call.k.shape[2], dtype=torch.bool)
    for b, i in itertools.product(range(call.q.shape[0]), range(call.q.shape[2])):
        at = call.offset + i
        scores = {}
        for j in range(at + 1):
            scores[j] = 0.0
            for a in range(index_q.shape[1]):
                product = float(index_q[b, a, i] @ index_k[b, j])
                scores[j] += float(weight[b, a, at]) * max(product, 0.0)
        chosen[b, i, list(best(scores, call.params["topk"]))] = True
    return {"chosen": chosen}


def dsa_attend(call: Call, sets: Sets) -> Tensor:
    return every_row(call, lambda b, h, i: sets["chosen"][b, i].nonzero().flatten().tolist())


def clusters_of(x: Tensor, centroids: Tensor, window: int) -> Tensor:
    """Every centroid takes the `window` tokens nearest in direction: bool [H, tokens, C]."""
    found = torch.zeros(*x.shape[:2], centroids.shape[1], dtype=torch.bool)
    for h, c in itertools.product(range(len(x)), range(centroids.shape[1])):
        scores = {
            i: float((v / v.norm().clamp(min=1e-12)) @ centroids[h, c]) for i, v in enumerate(x[h])
        }
        found[h, list(best(scores, window)), c] = True
    return found


def routing_select(call: Call) -> Sets:
    centroids, window = call.inputs["centroids"], call.params["window"]
    both = {
        "queries": torch.stack([clusters_of(x, centroids, window) for x in call.q]),
        "members": torch.stack([clusters_of(x, centroids, window) for x in call.k]),
    }
    return both


def routing_attend(call: Call, sets: Sets) -> Tensor:
    """In every cluster a softmax of its own; then the mean over a query's clusters."""
    shared, causal = call.params["keys"] == "shared", call.params["causal"]
    out = []
    for b, h, i in call.rows():
        keys, total, count = call.k[b, h], torch.zeros_like(call.v[b, h, 0]), 0
        if shared:
            keys = keys / keys.norm(dim=-1, keepdim=True)
        for c in range(call.params["clusters"]):
            if not sets["queries"][b, h, i, c]:
                continue
            count += 1
            members = [
                j
                for j in range(call.k.shape[2])
                if sets["members"][b, h, j, c] and (j <= i or not causal)
            ]
            others = [j for j in members if not (shared and j == i)]
            # A score of -5e4 beside others has no weight: the own token is the last resort.
            total = total + row(call.q[b, h, i], keys, call.v[b, h], others or members, call.scale)
        out.append(total / (count + 1e-5))
    return torch.stack(out).view(*call.q.shape[:3], -1)


ORACLES = {
    "dsa": Oracle(dsa_select, dsa_attend),
    "routing_transformer": Oracle(routing_select, routing_attend),
}
