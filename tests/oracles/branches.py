"""Definitions of attentions with several branches, by loops over single tokens."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.oracles.composed import (
    Call,
    Floats,
    Oracle,
    attended,
    largest,
    mean,
    rms_normed,
    softmax,
    weighted,
)


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


def abstraction(
    q: Floats, k: Floats, v: Floats, members: Sequence[int], scale: float
) -> tuple[Floats, Floats]:
    """Key and value of a region: largest features, and what its largest query attends in it."""
    keys, values = [k[j] for j in members], [v[j] for j in members]
    return largest(keys), attended(largest([q[j] for j in members]), keys, values, scale)


def combiner(call: Call, regions: Callable[[int], tuple[list[int], list[list[int]]]]) -> Floats:
    """One softmax over direct tokens and regions: ``regions(i)`` gives both for query i."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            direct, sets = regions(i)
            pairs = [(k[j], v[j]) for j in direct]
            pairs += [abstraction(q, k, v, members, call.scale) for members in sets]
            keys, values = [p[0] for p in pairs], [p[1] for p in pairs]
            out[b, h, i] = attended(q[i], keys, values, call.scale)
    return out


def combiner_fixed(call: Call) -> Floats:
    """Combiner, section 4.1: own segment so far and every earlier segment's abstraction."""
    size = call.params["segment"]

    def regions(i: int) -> tuple[list[int], list[list[int]]]:
        first = i // size * size
        return list(range(first, i + 1)), [list(range(a, a + size)) for a in range(0, first, size)]

    return combiner(call, regions)


def combiner_logsparse(call: Call) -> Floats:
    """Section 4.2: for every bit l of i a region of 2^l tokens, all together those before i."""

    def regions(i: int) -> tuple[list[int], list[list[int]]]:
        levels = [level for level in range(i.bit_length()) if i >> level & 1]
        sets = [list(range(((i >> j) - 1) << j, (i >> j) << j)) for j in levels]
        assert sorted(x for members in sets for x in members) == list(range(i))
        return [i], sets

    return combiner(call, regions)


def combiner_axial(call: Call) -> Floats:
    """Section 4.3, the mixture: columns above, and rows before and behind the column."""
    width = call.params["segment"]

    def regions(i: int) -> tuple[list[int], list[list[int]]]:
        row, column = divmod(i, width)
        direct = [r * width + column for r in range(row)]
        direct += [row * width + c for c in range(column + 1)]
        sets = []
        for c in range(width):
            if c != column and row > 0:
                sets.append([r * width + c for r in range(row)])
        for r in range(row):
            sets.append([r * width + c for c in range(column)])
            sets.append([r * width + c for c in range(column + 1, width)])
        return direct, [members for members in sets if members]

    return combiner(call, regions)


def cca_core(call: Call) -> Floats:
    """Core tokens of the groups that the window has left behind, and every token after these."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    n, size, window = call.q.shape[2], call.params["group"], call.params["window"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        core_keys: list[Floats] = []
        core_values: list[Floats] = []
        for first in range(0, n - size + 1, size):
            members = range(first, first + size)
            weights = softmax([call.scale * float(q[members[-1]] @ k[j]) for j in members])
            for made, x in ((core_keys, k), (core_values, v)):
                rows = [x[j] for j in members]
                of = {"last": weighted(weights, rows), "mean": mean(rows), "max": largest(rows)}
                made.append(of[call.params["core"]])
        for i in range(n):
            old = max(0, math.floor((i + 1 - window) / size))
            keys = [*core_keys[:old], *(k[j] for j in range(old * size, i + 1))]
            values = [*core_values[:old], *(v[j] for j in range(old * size, i + 1))]
            out[b, h, i] = attended(q[i], keys, values, call.scale)
    return out


def hydra_head(call: Call) -> Floats:
    """Softmax heads and Gated DeltaNet heads, each divided by its root mean square."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    full, gain, a, beta = (call.inputs[n] for n in ("full", "gain", "a", "beta"))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        state = np.zeros((q.shape[1], v.shape[1]))
        for i in range(len(q)):
            if full[h]:
                made = attended(q[i], list(k[: i + 1]), list(v[: i + 1]), call.scale)
            else:
                key = k[i] / math.sqrt(float(k[i] @ k[i]))
                query = q[i] / math.sqrt(float(q[i] @ q[i]))
                state = math.exp(a[b, i, h]) * state
                state = state + beta[b, i, h] * np.outer(key, v[i] - key @ state)
                made = call.scale * (query @ state)
            out[b, h, i] = gain[h] * rms_normed(made)
    return out


ORACLES: dict[str, Oracle] = {
    "hydra_head": hydra_head,
    "combiner_fixed": combiner_fixed,
    "combiner_logsparse": combiner_logsparse,
    "combiner_axial": combiner_axial,
    "cca_core": cca_core,
    "music_relative": music_relative,
    "rcmha": rcmha,
    "vstar_tar": vstar_tar,
    "hilo": hilo,
}
