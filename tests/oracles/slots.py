"""Definitions of attentions through a few slots, by loops over single tokens."""

from __future__ import annotations

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended


def abc(call: Call) -> Floats:
    """softmax(q K'^T / sqrt(d)) V' with K' = softmax_j(k . C_k)^T K and V' = softmax_j(v . C_v)^T V."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        slots = range(call.params["slots"])
        keys = [attended(call.inputs["key_slots"][h, r], list(k), list(k), 1.0) for r in slots]
        values = [attended(call.inputs["value_slots"][h, r], list(v), list(v), 1.0) for r in slots]
        for i, query in enumerate(q):
            out[b, h, i] = attended(query, keys, values, call.scale)
    return out


ORACLES: dict[str, Oracle] = {"abc": abc}
