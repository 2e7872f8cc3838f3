"""Choosing heads for tokens: MoH."""

from __future__ import annotations

import itertools

import torch

from tests.stdlib.routing.oracle import Call, Oracle, Sets, Tensor, best, row


def moh_select(call: Call) -> Sets:
    """Each token's heads, of those that are not shared."""
    router, shared = call.inputs["router"], call.params["shared"]
    batch, heads, n = router.shape
    chosen = torch.zeros(batch, heads, n, dtype=torch.bool)
    for b, i in itertools.product(range(batch), range(n)):
        scores = {h: float(router[b, h, i]) for h in range(shared, heads)}
        chosen[b, list(best(scores, call.params["topk"])), i] = True
    return {"active": chosen}


def moh_attend(call: Call, sets: Sets) -> Tensor:
    """Every head's output times its gate. ones: 1 or 0, with the slope of the probability added."""
    router, p = call.inputs["router"], call.params
    (chosen,) = sets.values()
    alpha = 2 * torch.softmax(
        torch.stack([call.inputs["balance"], torch.zeros_like(call.inputs["balance"])], -1), -1
    )
    out = []
    for b, h, i in call.rows():
        k, v = (x[b, h // call.group] for x in (call.k, call.v))
        given = row(call.q[b, h, i], k, v, range(i + 1 if p["causal"] else len(k)), call.scale)
        share = router[b, h, i]
        if p["gates"] == "ones":
            routed = float(chosen[b, h, i]) + (share - share.detach())
            gate = routed if h >= p["shared"] else 1.0
        elif h < p["shared"]:
            gate = alpha[b, i, 0] * p["shared"] * share
        elif chosen[b, h, i]:
            total = router[b, chosen[b, :, i], i].sum()
            gate = alpha[b, i, 1] * p["topk"] * share / total
        else:
            gate = 0.0
        out.append(gate * given)
    return torch.stack(out).view(*call.q.shape[:3], -1)


ORACLES = {"moh": Oracle(moh_select, moh_attend)}
