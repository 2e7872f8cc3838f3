"""Attention between channels, and of some channels alone."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended, softmax


def davit_channel(call: Call) -> Floats:
    """A = softmax over the last index of (c^-1/2 K^T V), out^T = A Q^T, in every group."""
    out = np.zeros(call.q.shape)
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for c in range(k.shape[1]):
            scores = [
                sum(float(k[n, c] * v[n, d]) for n in range(len(k))) / math.sqrt(k.shape[1])
                for d in range(v.shape[1])
            ]
            for d, weight in enumerate(softmax(scores)):
                out[b, h, :, c] += weight * q[:, d]
    return out


def cam(call: Call) -> Floats:
    """E = Q^T K over pixels; softmax of the row's largest minus E."""
    out = np.zeros(call.q.shape)
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for c in range(q.shape[1]):
            energy = [float(q[:, c] @ k[:, d]) for d in range(k.shape[1])]
            for d, weight in enumerate(softmax([max(energy) - e for e in energy])):
                out[b, h, :, c] += weight * v[:, d]
    return out


def shvit_shsa(call: Call) -> Floats:
    """The first channels of v attend, the rest pass."""
    out, some = np.zeros(call.v.shape), call.params["attended"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            out[b, h, i, :some] = attended(q[i], list(k), [row[:some] for row in v], call.scale)
            out[b, h, i, some:] = v[i, some:]
    return out


ORACLES: dict[str, Oracle] = {
    "davit_channel": davit_channel,
    "cam": cam,
    "shvit_shsa": shvit_shsa,
}
