"""Definitions of attentions with several branches, by loops over single tokens."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended, largest, mean, softmax, weighted


def music_relative(call: Call) -> Floats:
    """Music Transformer, eq. 3: (q k + q E[distance]) / sqrt(d), E's last row is distance 0."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    table, reach = call.inputs["E"], call.params["reach"]
    for b, h in call.rows():
        g = call.key_head(h)
        for i in range(call.q.shape[2]):
            scores = []
            for j in range(i + 1):
                row = reach - 1 - (i - j)
                relative = table[h, row] if row >= 0 else np.zeros(call.q.shape[3])
                scores.append(call.scale * float(call.q[b, h, i] @ (call.k[b, g, j] + relative)))
            out[b, h, i] = weighted(softmax(scores), call.v[b, g, : i + 1])
    return out


def rcmha(call: Call) -> Floats:
    """((q + u) k + q R[i - j] + c[i - j]) / sqrt(d); distances from -reach to reach - 1."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    u, vectors, numbers = (call.inputs[n] for n in ("u", "R", "c"))
    reach = call.params["reach"]
    for b, h in call.rows():
        g, n = call.key_head(h), call.q.shape[2]
        for i in range(n):
            seen = range(i + 1) if call.params["causal"] else range(n)
            scores = []
            for j in seen:
                q, k = call.q[b, h, i], call.k[b, g, j]
                s = float((q + u[h]) @ k)
                if -reach <= i - j < reach:
                    s += float(q @ vectors[h, i - j + reach]) + float(numbers[h, i - j + reach])
                scores.append(call.scale * s)
            out[b, h, i] = weighted(softmax(scores), [call.v[b, g, j] for j in seen])
    return out


def vstar_tar(call: Call) -> Floats:
    """Scores plus strength times the row's largest times a Gaussian of the distance."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    strength, sigma = call.params["strength"], call.params["sigma"]
    for b, h in call.rows():
        g = call.key_head(h)
        for i in range(call.q.shape[2]):
            plain = [call.scale * float(call.q[b, h, i] @ key) for key in call.k[b, g]]
            top = max(plain)
            edited = [
                s + strength * top * math.exp(-((i - j) ** 2) / (2 * sigma**2))
                for j, s in enumerate(plain)
            ]
            out[b, h, i] = weighted(softmax(edited), call.v[b, g])
    return out


def hilo(call: Call) -> Floats:
    """LITv2: first heads within windows, the others over the windows' means."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    w, heads = call.params["window"], call.q.shape[1]
    height, width = call.sizes["y"], call.sizes["x"]
    low = heads if w == 1 else int(call.params["alpha"] * heads)
    windows = [
        [(y + a) * width + x + b for a in range(w) for b in range(w)]
        for y in range(0, height, w)
        for x in range(0, width, w)
    ]
    for b, h in call.rows():
        g = call.key_head(h)
        k, v = call.k[b, g], call.v[b, g]
        for members in windows:
            for i in members:
                if h < heads - low:
                    keys, values = [k[j] for j in members], [v[j] for j in members]
                else:
                    keys = [mean([k[j] for j in m]) for m in windows]
                    values = [mean([v[j] for j in m]) for m in windows]
                out[b, h, i] = attended(call.q[b, h, i], keys, values, call.scale)
    return out


def combiner_fixed(call: Call) -> Floats:
    """Combiner, section 4.1: own segment so far and every earlier segment's abstraction."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    n, size = call.q.shape[2], call.params["segment"]
    regions = [range(a, min(a + size, n)) for a in range(0, n, size)]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        region_keys = [largest([k[j] for j in r]) for r in regions]
        region_values = [
            attended(largest([q[j] for j in r]), [k[j] for j in r], [v[j] for j in r], call.scale)
            for r in regions
        ]
        for i in range(n):
            own = i // size
            direct = [j for j in regions[own] if j <= i]
            keys = [*region_keys[:own], *(k[j] for j in direct)]
            values = [*region_values[:own], *(v[j] for j in direct)]
            out[b, h, i] = attended(q[i], keys, values, call.scale)
    return out


def cca_core(call: Call) -> Floats:
    """Core tokens of the groups that the window has left behind, and every token after these."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    n, size, window = call.q.shape[2], call.params["group"], call.params["window"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        core_keys, core_values = [], []
        for first in range(0, n - size + 1, size):
            members = range(first, first + size)
            weights = softmax([call.scale * float(q[members[-1]] @ k[j]) for j in members])
            core_keys.append(weighted(weights, [k[j] for j in members]))
            core_values.append(weighted(weights, [v[j] for j in members]))
        for i in range(n):
            old = max(0, math.floor((i + 1 - window) / size))
            keys = [*core_keys[:old], *(k[j] for j in range(old * size, i + 1))]
            values = [*core_values[:old], *(v[j] for j in range(old * size, i + 1))]
            out[b, h, i] = attended(q[i], keys, values, call.scale)
    return out


ORACLES: dict[str, Oracle] = {
    "combiner_fixed": combiner_fixed,
    "cca_core": cca_core,
    "music_relative": music_relative,
    "rcmha": rcmha,
    "vstar_tar": vstar_tar,
    "hilo": hilo,
}
