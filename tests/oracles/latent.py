"""Latent attention: the key is also the value, and may be cut into shards."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, rms_normed, softmax, weighted


def latent_head(
    q: Floats, latents: list[Floats], rotary: Floats, split: int, scale: float, mu: float = 1.0
) -> Floats:
    """One causal head: scores of mu * (latent part) + (rotary part), values are the latents."""
    out = np.zeros((len(q), split))
    for i in range(len(q)):
        scores = [
            scale * (mu * float(q[i, :split] @ latents[j]) + float(q[i, split:] @ rotary[j]))
            for j in range(i + 1)
        ]
        out[i] = weighted(softmax(scores), latents[: i + 1])
    return out


def scale_of(call: Call) -> float:
    """The width of keys before they were absorbed, not of the latent."""
    return 1.0 / math.sqrt(call.params["nope"] + call.params["rope"])


def mla(call: Call) -> Floats:
    """DeepSeek-V2, the absorbed form: one normalised latent for all heads."""
    width = call.params["latent"]
    out = np.zeros((*call.q.shape[:3], width))
    for b, h in call.rows():
        k = call.k[b, 0]
        latents = [rms_normed(row[:width]) for row in k]
        out[b, h] = latent_head(call.q[b, h], latents, k[:, width:], width, scale_of(call))
    return out


def gla_latent(call: Call) -> Floats:
    """Heads in as many groups as there are shards; group r sees shard r, normalised by itself."""
    shards = call.params["shards"]
    width, heads = call.params["latent"] // shards, call.q.shape[1]
    out = np.zeros((*call.q.shape[:3], width))
    for b, h in call.rows():
        shard = h // (heads // shards)
        k = call.k[b, shard]
        latents = [rms_normed(row[:width]) for row in k]
        out[b, h] = latent_head(call.q[b, h], latents, k[:, width:], width, scale_of(call))
    return out


def tpla(call: Call) -> Floats:
    """Eqs. 17-25: all heads on every shard, a shard divided by sqrt(alpha / g) RMS(shard)."""
    shards = call.params["shards"]
    width, heads = call.params["latent"] // shards, call.q.shape[1] // shards
    alpha, mu = call.inputs["alpha"], call.inputs["mu"]
    out = np.zeros((*call.q.shape[:3], width))
    for b in range(len(call.q)):
        for r in range(shards):
            k = call.k[b, r]
            latents = [rms_normed(row[:width]) / math.sqrt(alpha[r] / shards) for row in k]
            for h in range(heads):
                q = call.q[b, r * heads + h]
                out[b, r * heads + h] = latent_head(
                    q, latents, k[:, width:], width, scale_of(call), float(mu[r])
                )
    return out


ORACLES: dict[str, Oracle] = {"mla": mla, "gla_latent": gla_latent, "tpla": tpla}
