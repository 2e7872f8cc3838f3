"""Chunks, spans and memories of language models. Catalogue: llm.md; i is the query, j the key."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Mask, between, between_by_batch, pairs, pairs_by_head

Floats = npt.NDArray[np.floating]


def sinklora_sf(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    group_ratio: int = 4,
    restored: float = 0.5,
    sinks: int = 4,
) -> Mask:
    """LongLoRA with a fraction of the shifted heads put back, and causal sinks for every head."""
    n = sizes["n"]
    group = n // group_ratio
    shifted = list(range(heads // 2, heads))
    put_back = shifted[: math.floor(restored * len(shifted))]

    def rule(h: int, i: int, j: int) -> bool:
        shift = group // 2 if h in shifted and h not in put_back else 0
        return j <= i and ((i - shift) // group == (j - shift) // group or j < sinks)

    return pairs_by_head(n, heads, rule)


def moa_elastic(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    sinks: int = 64,
    block: int = 64,
    new_tokens: int = 1024,
    alpha: Floats,
    beta: Floats,
) -> Mask:
    """MoA's prefill: sink blocks, and local blocks that grow with the length.

    The released code rounds to 64 and keeps 128 tokens at least, with sinks and blocks of 64: here
    `block` and `sinks + block`.
    """
    total = sizes["n"] + new_tokens
    spans = [
        block * math.ceil(max(min(int(a + b * total), total), sinks + block) / block)
        for a, b in zip(alpha.tolist(), beta.tolist(), strict=True)
    ]

    def rule(h: int, i: int, j: int) -> bool:
        sink = min(spans[h], sinks)
        local = spans[h] - sink
        a, b = i // block, j // block
        return j <= i and (b < sink // block or b > a - local // block)

    return pairs_by_head(sizes["n"], heads, rule)


def titans_mag(
    sizes: Mapping[str, int], heads: int = 1, *, window: int = 512, persistent: int = 16
) -> Mask:
    """Persistent keys, then a causal window over the sequence; persistent keys do not ask."""
    n = sizes["n"]
    return between(
        n,
        persistent + n,
        lambda i, j: j < persistent or 0 <= i - (j - persistent) < window,
    )


def titans_mac(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    segment: int = 512,
    persistent: int = 16,
    memory: int = 16,
) -> Mask:
    """Keys are persistent, then the read-outs of segment 0, of segment 1, ..., then the sequence."""
    n = sizes["n"]
    owners: list[tuple[str, int]] = [("persistent", 0)] * persistent
    for first in range(0, n, segment):
        owners += [("memory", first // segment)] * memory
    owners += [("token", j) for j in range(n)]

    def rule(i: int, key: int) -> bool:
        kind, owner = owners[key]
        if kind == "persistent":
            return True
        if kind == "memory":
            return owner == i // segment
        return owner // segment == i // segment and owner <= i

    return between(n, len(owners), rule)


def mega_chunk(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    chunk: int = 2048,
    activation: str = "softmax",
    causal: bool = True,
    bias: Floats | None = None,
) -> Mask:
    """Chunks without overlap; the bias is `scores.relative_bias`, weights are `mega_attention`."""
    return pairs(sizes["n"], lambda i, j: i // chunk == j // chunk and (j <= i or not causal))


def mega_attention(
    q: Floats, k: Floats, v: Floats, mask: Mask, bias: Floats, activation: str
) -> Floats:
    """MEGA without a softmax, for one head: f(q.k / keys of the row + bias) times v, summed.

    q, k [n, d], v [n, w], bias [n, n].
    """
    mean, deviation = math.sqrt(0.5), math.sqrt(1 / (4 * math.pi))
    out = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if mask[0, i, j]]
        for j in keys:
            x = float(np.dot(q[i], k[j])) / len(keys) + bias[i, j]
            if activation == "relu2":
                weight = max(x, 0.0) ** 2
            else:
                weight = 0.5 * (1 + math.erf((x - mean) / (deviation * math.sqrt(2))))
            out[i] += weight * v[j]
    return out


def head_roles(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int = 256,
    sinks: int = 4,
    retrieval: npt.NDArray[np.bool_],
) -> Mask:
    """Retrieval heads see the past, the others its first tokens and its last `window`."""

    def rule(h: int, i: int, j: int) -> bool:
        kept = [*range(sinks), *range(i - window + 1, i + 1)]
        return j <= i and bool(retrieval[h] or j in kept)

    return pairs_by_head(sizes["n"], heads, rule)


def bidir_or_causal(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    mask: str = "causal",
    pad: npt.NDArray[np.bool_] | None = None,
) -> Mask:
    """All that is text, or what of it is past."""
    n = sizes["n"]

    def sees(i: int, j: int) -> bool:
        return mask == "bidirectional" or j <= i

    if pad is None:
        return pairs(n, sees)
    return between_by_batch(len(pad), n, n, lambda b, i, j: sees(i, j) and not pad[b, j])


def cab_local(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int = 15,
    mode: str = "noncausal_self",
) -> Mask:
    """CAB's local attention: 2 w + 1 keys, causally w keys; all keys of another sequence."""
    if mode.endswith("cross"):
        return between(sizes["q.n"], sizes["k.n"], lambda i, j: True)
    if mode == "causal_self":
        return pairs(sizes["n"], lambda i, j: 0 <= i - j < window)
    return pairs(sizes["n"], lambda i, j: abs(i - j) <= window)
