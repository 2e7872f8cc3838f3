"""Calls of the patterns with a running sum, and what their papers say they compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import attnlang
from tests.oracles import recurrent as r
from tests.oracles.recurrent import Floats, Ints, Sums

Tensor = torch.Tensor
Arrays = dict[str, Floats]
Maker = Callable[[Floats, Floats, Floats, Arrays, dict[str, Any]], Sums]
Pairs = Callable[[Floats, Floats, Arrays, dict[str, Any]], Floats]
HEADS, KV_HEADS, WIDTH, VALUES = 4, 2, 4, 3


@dataclass(frozen=True)
class Case:
    """sums: the oracle from arrays of all query heads. inputs: shapes with N for the tokens.

    finish: what is done to the outputs. pairs: the weights written down without features.
    """

    name: str
    sums: Maker
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    finish: Callable[[Floats, Arrays], Floats] = lambda out, _: out
    pairs: Pairs | None = None

    @property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @property
    def causal(self) -> bool:
        return bool(self.pattern.params.get("causal", True))

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.params.items())])

    def draw(self, n: int, batch: int = 2, seed: int = 0) -> tuple[list[Tensor], dict[str, Tensor]]:
        """q, k, v and the inputs, in float64."""
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        qkv = [
            random(batch, heads, n, width)
            for heads, width in ((HEADS, WIDTH), (KV_HEADS, WIDTH), (KV_HEADS, VALUES))
        ]
        made = {}
        for name, dims in self.inputs.items():
            shape = [{"B": batch, "N": n, "H": HEADS, "K": WIDTH}.get(d, d) for d in dims]
            x = random(*shape)
            if name == "a":
                x = torch.nn.functional.logsigmoid(x)
            made[name] = x.sigmoid() if name == "beta" else x
        return qkv, made

    def oracle(self, qkv: list[Tensor], inputs: dict[str, Tensor]) -> Sums:
        arrays = {n: x.detach().double().numpy() for n, x in inputs.items()}
        wide = [x.detach().double().numpy() for x in qkv]
        wide = [x.repeat(HEADS // x.shape[1], axis=1) for x in wide]
        return self.sums(wide[0], wide[1], wide[2], arrays, self.params)

    def finished(self, out: Floats, inputs: dict[str, Tensor]) -> Floats:
        return self.finish(out, {n: x.detach().double().numpy() for n, x in inputs.items()})

    def expected(
        self, qkv: list[Tensor], inputs: dict[str, Tensor], doc: Ints | None = None
    ) -> Floats:
        return self.finished(r.recurrent(self.oracle(qkv, inputs), doc), inputs)


def by_token(x: Floats) -> Floats:
    """[B, N, H] -> [B, H, N]"""
    return x.swapaxes(1, 2)


def lightning(q: Floats, k: Floats, v: Floats, _: Arrays, p: dict[str, Any]) -> Sums:
    if p.get("activation") != "none":
        q, k, v = r.silu(q), r.silu(k), r.silu(v)
    if p["convention"] == "fla":
        q = q / math.sqrt(WIDTH)
    slopes = r.lightning_slopes(p["convention"], HEADS, p["layer"], p["layers"])
    return r.constant(Sums(q, k, v), slopes)


def transnormer(q: Floats, k: Floats, v: Floats, x: Arrays, p: dict[str, Any]) -> Sums:
    q, k = r.silu(q), r.silu(k)
    if p.get("positions") != "none":
        angle = np.arange(q.shape[2])[:, None] * x["theta"][:, None]
        q, k = (np.concatenate([y * np.cos(angle), y * np.sin(angle)], -1) for y in (q, k))
    slopes = r.lightning_slopes("paper", HEADS, p["layer"], p["layers"])
    return r.constant(Sums(q, k, v), slopes)


def transnormer_pairs(q: Floats, k: Floats, x: Arrays, p: dict[str, Any]) -> Floats:
    """sum_c q_c k_c cos(theta_c (s - t)) exp(-g (s - t)), feature by feature."""
    away = np.arange(q.shape[2])[:, None] - np.arange(q.shape[2])
    turns = np.cos(x["theta"][:, None, None] * away[..., None]) if "theta" in x else 1.0
    products = (r.silu(q)[:, :, :, None] * r.silu(k)[:, :, None] * turns).sum(-1)
    slopes = np.array(r.lightning_slopes("paper", HEADS, p["layer"], p["layers"]))
    return np.asarray(products * np.exp(-slopes[:, None, None] * np.maximum(away, 0)))


def normed_over_heads(out: Floats, _: Arrays) -> Floats:
    """Divided by the root mean square of a token's features of all heads."""
    return np.asarray(out / np.sqrt((out**2).mean((1, 3), keepdims=True) + 1e-6))


def retention(q: Floats, k: Floats, v: Floats, _: Arrays, p: dict[str, Any]) -> Sums:
    if p.get("positions") != "none":
        q, k = (r.rotary(x, p.get("base", 10000.0)) for x in (q, k))
    falls = [-math.log(1 - 2.0 ** (-5 - h)) for h in range(HEADS)]
    return r.constant(Sums(q / math.sqrt(WIDTH), k, v), falls)


def sala(q: Floats, k: Floats, v: Floats, _: Arrays, p: dict[str, Any]) -> Sums:
    if p.get("norm", True):
        q, k = r.rms_norm(q), r.rms_norm(k)
    if p.get("positions") != "none":
        q, k = (r.rotary(x, 10000.0) for x in (q, k))
    q = q * {"sqrt": WIDTH**-0.5, "dim": 1 / WIDTH, "one": 1.0}[p.get("scaling", "sqrt")]
    return r.constant(Sums(q, k, v), [2.0 ** (-8 * (h + 1) / HEADS) for h in range(HEADS)])


def gla(q: Floats, k: Floats, v: Floats, x: Arrays, _: dict[str, Any]) -> Sums:
    a = by_token(x["a"])
    a = a[..., None] + np.zeros(WIDTH) if a.ndim == 3 else a
    return Sums(q / math.sqrt(WIDTH), k, v, a)


def delta(q: Floats, k: Floats, v: Floats, x: Arrays, p: dict[str, Any]) -> Sums:
    if p.get("normalised", True):
        q, k = r.unit(q), r.unit(k)
    a = by_token(x["a"])[..., None] + np.zeros(WIDTH) if "a" in x else None
    return Sums(q / math.sqrt(WIDTH), k, v, a, by_token(x["beta"]))


def pavlov(q: Floats, k: Floats, v: Floats, x: Arrays, p: dict[str, Any]) -> Sums:
    beta = by_token(x["beta"]) if "beta" in x else None
    return Sums(q, k, v, beta=beta, causal=p.get("causal", True))


def based(q: Floats, k: Floats, v: Floats, _: Arrays, p: dict[str, Any]) -> Sums:
    return Sums(r.taylor(q), r.taylor(k), v, divide=True)


def based_pairs(q: Floats, k: Floats, _: Arrays, p: dict[str, Any]) -> Floats:
    x = q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH)
    return 1 + x + x * x / 2


def cos_pair(x: Floats, length: int) -> Floats:
    angle = np.pi / 2 * np.arange(x.shape[2])[:, None] / (length or x.shape[2])
    x = np.maximum(x, 0)
    return np.concatenate([x * np.cos(angle), x * np.sin(angle)], -1)


def cosformer(q: Floats, k: Floats, v: Floats, _: Arrays, p: dict[str, Any]) -> Sums:
    one, two = (cos_pair(x, p.get("length", 0)) for x in (q, k))
    return Sums(one, two, v, divide=True, causal=p.get("causal", True))


def cosformer_pairs(q: Floats, k: Floats, _: Arrays, p: dict[str, Any]) -> Floats:
    n = q.shape[2]
    away = np.arange(n)[:, None] - np.arange(n)
    near = np.cos(np.pi / 2 * away / (p.get("length") or n))
    return (np.maximum(q, 0) @ np.maximum(k, 0).swapaxes(-1, -2)) * near


def performer(q: Floats, k: Floats, v: Floats, x: Arrays, p: dict[str, Any]) -> Sums:
    one, two = (r.positive_features(y, x["w"]) for y in (q, k))
    return Sums(one, two, v, divide=True, causal=p.get("causal", False))


def aaren(q: Floats, k: Floats, v: Floats, x: Arrays, _: dict[str, Any]) -> Sums:
    asked = np.exp((k * x["query"][:, None]).sum(-1, keepdims=True) / math.sqrt(WIDTH))
    return Sums(np.ones_like(asked), asked, v, divide=True)


A, BETA, FEATURES = ("B", "N", "H"), ("B", "N", "H"), ("H", 7, "K")
CASES = (
    *(
        Case("lightning_attention", lightning, {"convention": c, "layer": at, "layers": 6, **more})
        for c, at in (("repo", 0), ("repo", 5), ("paper", 2), ("paper", 5), ("fla", 0), ("fla", 3))
        for more in ({}, {"activation": "none"})[: 1 + (at == 0)]
    ),
    *(
        Case(
            "transnormer_gla",
            transnormer,
            {"layer": layer, "layers": 3, "positions": positions},
            {"theta": ("H", "K")} if positions == "rotary" else {},
            normed_over_heads,
            transnormer_pairs,
        )
        for layer, positions in ((0, "rotary"), (1, "none"), (2, "none"))
    ),
    Case("retention", retention),
    Case("retention", retention, {"positions": "none"}),
    Case("simple_gla", gla, inputs={"a": A}),
    Case("gla", gla, inputs={"a": (*A, "K")}),
    Case("delta_net", delta, inputs={"beta": BETA}),
    Case("delta_net", delta, {"normalised": False}, {"beta": BETA}),
    Case("gated_delta_net", delta, inputs={"a": A, "beta": BETA}),
    Case("sala_linear", sala),
    Case("sala_linear", sala, {"scaling": "dim", "positions": "none"}),
    Case("sala_linear", sala, {"scaling": "one", "norm": False}),
    Case("based_taylor", based, {"feature_dim": WIDTH}, pairs=based_pairs),
    Case("pavlov_linear", pavlov),
    Case("pavlov_linear", pavlov, {"causal": False}),
    Case("pavlov_linear", pavlov, {"rule": "delta"}, {"beta": BETA}),
    Case(
        "dsf_normalized",
        pavlov,
        inputs={"log_eta": A},
        finish=lambda out, x: out / np.exp(by_token(x["log_eta"]))[..., None],
    ),
    Case("cosformer", cosformer, {"length": 64}, pairs=cosformer_pairs),
    Case("cosformer", cosformer, pairs=cosformer_pairs),
    Case("cosformer", cosformer, {"causal": False}, pairs=cosformer_pairs),
    Case("aaren", aaren, inputs={"query": ("H", "K")}),
    Case("performer", performer, {"features": 7}, {"w": FEATURES}),
    Case("performer", performer, {"features": 7, "causal": True}, {"w": FEATURES}),
)


KEPT = tuple(c for c in CASES if c.causal and (c.name, c.params) != ("cosformer", {}))
"""Those with a state: a cosine's period must be known beforehand."""
