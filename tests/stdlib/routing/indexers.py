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
    """Queries and keys of every cluster; of keys apart from queries those in each one's past."""
    p, centroids = call.params, call.inputs["centroids"]
    queries, members = (
        torch.stack([clusters_of(x, centroids, p["window"]) for x in y]) for y in (call.q, call.k)
    )
    found = {"queries": queries, "members": members}
    slots = min(p["window"], max(call.q.shape[2], call.k.shape[2]))
    shape = (*queries.shape[:2], p["clusters"], slots)
    if p["padding"] == "keys":
        present = torch.zeros(shape, dtype=torch.bool)
        for b, h, c in itertools.product(*map(range, shape[:3])):
            for slot, j in enumerate(members[b, h, :, c].nonzero().flatten().tolist()):
                present[b, h, c, slot] = not call.inputs["pad"][b, j]
        found["present"] = present
    if p["keys"] == "own":
        past = torch.zeros((*shape, *shape[2:]), dtype=torch.bool)
        for b, h, c in itertools.product(*map(range, shape[:3])):
            ours = queries[b, h, :, c].nonzero().flatten().tolist()
            theirs = members[b, h, :, c].nonzero().flatten().tolist()
            for (slot, i), (other, j) in itertools.product(enumerate(ours), enumerate(theirs)):
                past[b, h, c, slot, c, other] = j <= i
        found["past"] = past
    return found


def routing_attend(call: Call, sets: Sets) -> Tensor:
    """In every cluster a softmax of its own, its memory beside its keys; the mean over clusters."""
    p, shared = call.params, call.params["keys"] == "shared"
    pad = call.inputs["pad"] if p["padding"] == "keys" else None
    out = []
    for b, h, i in call.rows():
        keys, total, count = call.k[b, h], torch.zeros_like(call.v[b, h, 0]), 0
        if shared:
            keys = keys / keys.norm(dim=-1, keepdim=True)
        for c in range(p["clusters"]):
            if not sets["queries"][b, h, i, c]:
                continue
            count += 1
            members = [
                j
                for j in range(call.k.shape[2])
                if sets["members"][b, h, j, c]
                and (j <= i or not p["causal"])
                and (pad is None or not pad[b, j])
            ]
            others = [j for j in members if not (shared and j == i)]
            seen, values = keys[members], call.v[b, h, members]
            learned = p["memory"] == "learned"
            if others or learned:  # beside others a score of -5e4 has no weight
                seen, values = keys[others], call.v[b, h, others]
            if learned:
                seen = torch.cat([call.inputs["memory_keys"][h, c], seen])
                values = torch.cat([call.inputs["memory_values"][h, c], values])
            total = total + row(call.q[b, h, i], seen, values, range(len(seen)), call.scale)
        out.append(total / (count + 1e-5))
    return torch.stack(out).view(*call.q.shape[:3], -1)


ORACLES = {
    "dsa": Oracle(dsa_select, dsa_attend),
    "routing_transformer": Oracle(routing_select, routing_attend),
}
