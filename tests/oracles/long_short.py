"""Transformer-LS: slots of a dynamic projection and a window in one softmax."""

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


def projected(x: Floats, scores: Floats, tokens: list[int]) -> Floats:
    """``[H, N, D]`` -> ``[H, R, D]``: sums of tokens with a softmax over them of ``[N, H, R]``."""
    made = np.zeros((x.shape[0], scores.shape[2], x.shape[2]))
    for h in range(made.shape[0]):
        for r in range(made.shape[1]):
            if tokens:
                weights = softmax([float(scores[j, h, r]) for j in tokens])
                made[h, r] = weighted(weights, x[h, tokens])
    return made


def long_short(call: Call) -> Floats:
    """Section 3.2 between all tokens, section 3.4 where causal: slots of every chunk of its own."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    pad, n, causal = call.inputs.get("pad"), call.q.shape[2], call.params["causal"]
    long = call.inputs["long_gain"], call.inputs["long_shift"]
    short = call.inputs["short_gain"], call.inputs["short_shift"]
    run = call.params["chunk"] if causal else n
    for b in range(len(call.q)):
        normed = [over_heads(x[b], *long) for x in (call.k, call.v)]
        real = [j for j in range(n) if pad is None or not pad[b, j]]
        chunks = []
        for first in range(0, n, run):
            inside = [j for j in real if first <= j < first + run]
            made = (call.k[b], call.v[b]) if causal else normed  # causal: as they are projected
            sums = [projected(x, call.inputs["scores"][b], inside) for x in made]
            chunks.append([over_heads(x, *short) for x in sums])
        for h in range(call.q.shape[1]):
            for i in real:
                past = chunks[: i // run] if causal else chunks
                seen = window(i, n, call.params["window"], causal)
                seen = [j for j in seen if j in real]
                pairs = [
                    [*(slot for chunk in past for slot in chunk[side][h]), *normed[side][h, seen]]
                    for side in (0, 1)
                ]
                out[b, h, i] = attended(call.q[b, h, i], *pairs, call.scale)
    return out


def window(i: int, n: int, size: int, causal: bool) -> list[int]:
    """The last tokens; or those of the query's block and half a block on either side."""
    if causal:
        return list(range(max(0, i - size + 1), i + 1))
    first, reach = i // size * size, max(size // 2, 1)
    return list(range(max(0, first - reach), min(n, first + size + reach)))


ORACLES: dict[str, Oracle] = {"long_short": long_short}
