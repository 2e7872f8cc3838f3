"""Transformer-LS between all tokens: slots of a dynamic projection and a window in one softmax."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended, softmax, weighted


def over_heads(x: Floats, gain: Floats, shift: Floats) -> Floats:
    """Each token of ``[H, N, D]`` normalised over the features of all heads."""
    out = np.zeros(x.shape)
    for n in range(x.shape[1]):
        row = np.concatenate([x[h, n] for h in range(x.shape[0])])
        centred = row - row.sum() / len(row)
        row = centred / math.sqrt((centred**2).sum() / len(row) + 1e-5) * gain + shift
        out[:, n] = row.reshape(x.shape[0], x.shape[2])
    return out


def long_short(call: Call) -> Floats:
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    size, pad = call.params["window"], call.inputs.get("pad")
    long = call.inputs["long_gain"], call.inputs["long_shift"]
    short = call.inputs["short_gain"], call.inputs["short_shift"]
    n, reach = call.q.shape[2], max(size // 2, 1)
    for b in range(len(call.q)):
        keys, values = over_heads(call.k[b], *long), over_heads(call.v[b], *long)
        real = [j for j in range(n) if pad is None or not pad[b, j]]
        sums = []
        for x in (keys, values):
            made = np.zeros((len(x), call.params["slots"], x.shape[2]))
            for h in range(len(x)):
                for r in range(made.shape[1]):
                    weights = softmax([float(call.inputs["scores"][b, j, h, r]) for j in real])
                    made[h, r] = weighted(weights, x[h, real])
            sums.append(over_heads(made, *short))
        for h in range(call.q.shape[1]):
            for i in real:
                first = i // size * size
                seen = [j for j in real if first - reach <= j < first + size + reach]
                pairs = [[*s[h], *x[h, seen]] for s, x in zip(sums, (keys, values), strict=True)]
                out[b, h, i] = attended(call.q[b, h, i], *pairs, call.scale)
    return out


ORACLES: dict[str, Oracle] = {"long_short": long_short}
