"""The calls at which the patterns that choose their keys are compared with their oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

import attnlang
from tests.stdlib.routing import grids, heads, indexers, sequences
from tests.stdlib.routing.oracle import Call, Oracle

ORACLES: dict[str, Oracle] = {
    **sequences.ORACLES,
    **grids.ORACLES,
    **indexers.ORACLES,
    **heads.ORACLES,
}


@dataclass(frozen=True)
class Case:
    """One call. n_q: queries where they are fewer than the keys, the last ones.

    ties: small whole numbers in q and k, so that many scores are equal. values: their width.
    """

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 2
    kv_heads: int = 2
    n_q: int | None = None
    ties: bool = False
    batch: int = 2
    values: int = 3

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @cached_property
    def call(self) -> Call:
        """Drawn anew for every case, the same every time."""
        generator = torch.Generator().manual_seed(len(str(self)))
        n_q, n_k = self.lengths
        dims = ((self.heads, n_q, 4), (self.kv_heads, n_k, 4), (self.kv_heads, n_k, self.values))
        q, k, v = (draw((self.batch, *d), generator) for d in dims)
        if self.ties:
            q, k = q.round(), k.round()
        params = self.pattern.params
        if self.name == "routing_transformer" and params["keys"] == "shared":
            k = q.clone()
        made = Call(q, k, v, self.sizes, params, {}, n_k - n_q if self.n_q is not None else 0)
        return replace(made, inputs=self.inputs(made, generator))

    @property
    def lengths(self) -> tuple[int, int]:
        """Queries and keys."""
        count = math.prod(self.sizes.values())
        return (count if self.n_q is None else self.n_q), count

    def inputs(self, made: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Run-time tensors of the call."""
        return INPUTS[self.name](made, generator) if self.name in INPUTS else {}

    @property
    def given(self) -> dict[str, int]:
        """Lengths as an op takes them."""
        if self.n_q is None:
            return self.sizes
        return {}

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.sizes.values()))
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        heads = f"h{self.heads}" + (f"/{self.kv_heads}" if self.kv_heads != self.heads else "")
        more = ("" if self.n_q is None else f"-q{self.n_q}") + ("-ties" if self.ties else "")
        return f"{self.name}-{sizes}-{heads}-{params}{more}".replace(" ", "")


def draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers that float32 holds exactly."""
    return torch.randn(shape, generator=generator).double()


def nsa_gate(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    batch, heads = call.q.shape[:2]
    made = {"gate": draw((batch, heads, call.k.shape[2], 3), generator)}
    if call.params["keys"] == "own":
        runs = len(sequences.nsa_runs(call))
        for branch, count in (("coarse", runs), ("near", call.k.shape[2])):
            for what in ("key", "value"):
                shape = (batch, call.k.shape[1], count, call.k.shape[3])
                made[f"{branch}_{what}"] = draw(shape, generator)
    return made


def seer_gate(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    size, width = call.params["block"], call.params["gate_dim"]
    if call.params["given"] == "weights":
        heads, kv_heads, dim = call.q.shape[1], call.k.shape[1], call.q.shape[3]
        return {
            "raw_q": draw(tuple(call.q.shape), generator),
            "raw_k": draw(tuple(call.k.shape), generator),
            "wq": draw((heads, width, dim), generator),
            "wk": draw((kv_heads, width, 3 * dim), generator),
            "frequency": 10.0 ** -torch.arange(width // 2).double(),
        }
    rows = size if call.params["stage"] == "prefill" else 1
    counts = (-(-call.q.shape[2] // rows), -(-call.k.shape[2] // size))
    return {"gate": draw((*call.q.shape[:2], *counts), generator)}


def dsa_index(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    batch, n_q, n_k = call.q.shape[0], call.q.shape[2], call.k.shape[2]
    heads, width = call.params["index_heads"], call.params["index_dim"]
    return {
        "index_q": draw((batch, heads, n_q, width), generator),
        "index_k": draw((batch, n_k, width), generator),
        "weight": draw((batch, heads, n_k), generator),
    }


def directions(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    drawn = draw((call.q.shape[1], call.params["clusters"], call.q.shape[3]), generator)
    made = {"centroids": drawn / drawn.norm(dim=-1, keepdim=True)}
    if call.params["memory"] == "learned":
        learned = (*drawn.shape[:2], call.params["slots"], call.k.shape[3])
        made["memory_keys"] = draw(learned, generator)
        made["memory_values"] = draw(learned, generator)
    if call.params["padding"] == "keys":
        batch, tokens = call.q.shape[0], call.k.shape[2]
        made["pad"] = torch.rand(batch, tokens, generator=generator) < 0.3
    return made


def head_routes(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    shared, shape = call.params["shared"], call.q.shape[:3]
    drawn = draw(shape, generator)
    router = torch.cat([drawn[:, :shared].softmax(1), drawn[:, shared:].softmax(1)], 1)
    return {"router": router, "balance": draw((shape[0], shape[2]), generator)}


INPUTS: dict[str, Callable[[Call, torch.Generator], dict[str, torch.Tensor]]] = {
    "nsa": nsa_gate,
    "seer_attention": seer_gate,
    "dsa": dsa_index,
    "routing_transformer": directions,
    "moh": head_routes,
}
"""Run-time tensors of a pattern's calls."""

ALL: list[Case] = [
    *(
        Case("moba", {"n": n}, {"block": b, "topk": k}, heads=h, kv_heads=g)
        for n, b, k in ((1, 4, 1), (3, 4, 2), (16, 4, 2), (18, 4, 3), (17, 5, 99), (9, 1, 3))
        for h, g in ((2, 2), (4, 2))
    ),
    Case("moba", {"n": 18}, {"block": 4, "topk": 3}, n_q=1),
    Case("moba", {"n": 19}, {"block": 4, "topk": 2}, heads=4, kv_heads=1, n_q=6),
    Case("moba", {"n": 30}, {"block": 4, "topk": 3}, ties=True),
    *(
        Case("nsa", {"n": n}, {"block": b, "topk": k, "window": w}, heads=h, kv_heads=g)
        for n, b, k, w in ((1, 4, 1, 1), (3, 4, 2, 2), (16, 4, 2, 5), (18, 4, 3, 99), (17, 5, 9, 1))
        for h, g in ((2, 2), (4, 2), (3, 1))
    ),
    *(
        Case(
            "nsa",
            {"n": n},
            {"block": 8, "topk": 4, "window": 3, "form": "paper"}
            | {"kernel": kernel, "stride": stride, "initial": first, "local": last},
            heads=4,
            n_q=n_q,
        )
        for n, kernel, stride, first, last, n_q in (
            (3, 4, 2, 1, 2, None),
            (45, 4, 2, 1, 2, None),
            (45, 6, 2, 0, 1, None),
            (40, 8, 8, 1, 1, None),
            (45, 4, 2, 1, 2, 7),
        )
    ),
    Case("nsa", {"n": 19}, {"block": 4, "topk": 2, "window": 3}, heads=4, n_q=6),
    *(
        Case(
            "nsa",
            {"n": 29},
            {"block": 8, "topk": 3, "window": 5, "form": form, "kernel": 4, "stride": 2}
            | {"keys": "own"},
            heads=4,
            n_q=n_q,
            values=4,
        )
        for form in ("code", "paper")
        for n_q in (None, 5)
    ),
    *(
        Case(
            "seer_attention",
            {"n": n},
            {"stage": "prefill", "block": b, "by": by, "threshold": t, "ratio": r, "dense": d},
        )
        for d in (2, 0)
        for n, b, by, t, r in (
            (1, 4, "threshold", 0.1, 0.9),
            (7, 4, "ratio", 0.1, 0.9),
            (24, 4, "threshold", 0.2, 0.0),
            (27, 4, "threshold", 0.4, 0.0),
            (30, 3, "ratio", 0.0, 0.5),
            (30, 3, "ratio", 0.0, 1.0),
            (30, 3, "ratio", 0.0, 0.0),
        )
    ),
    Case("seer_attention", {"n": 22}, {"block": 4, "threshold": 0.3}, heads=4),
    *(
        Case(
            "seer_attention",
            {"n": n},
            {"stage": "decode", "block": 4, "by": by, "threshold": t, "topk": k},
            n_q=q,
        )
        for n, by, t, k, q in (
            (1, "threshold", 0.2, 1, None),
            (22, "threshold", 0.2, 1, 1),
            (24, "threshold", 0.3, 1, 5),
            (22, "top", 0.0, 1, 1),
            (22, "top", 0.0, 3, 6),
            (9, "top", 0.0, 99, None),
        )
    ),
    *(
        Case(
            "seer_attention",
            {"n": n},
            {"stage": stage, "given": "weights", "gate_dim": 6, "block": 4, "by": by, "dense": 0}
            | {"threshold": 0.2, "ratio": 0.4, "topk": 2},
            heads=h,
            kv_heads=kv,
            n_q=q,
        )
        for stage, n, by, h, kv, q in (
            ("prefill", 26, "threshold", 4, 2, None),
            ("prefill", 17, "ratio", 2, 2, None),
            ("prefill", 3, "threshold", 2, 1, None),
            ("decode", 22, "threshold", 4, 2, 1),
            ("decode", 22, "top", 6, 2, 5),
            ("decode", 9, "top", 2, 2, None),
        )
    ),
    *(
        Case(
            "infllm_v2",
            {"n": n},
            {"topk": k, "block": 8, "kernel": 4, "stride": 2, "init": i, "local": near}
            | {"normaliser": normaliser, "dense_len": 8 if n == 8 else 0},
            heads=h,
            n_q=q,
        )
        for normaliser in ("exact", "coarse")
        for n, k, i, near, h, q in (
            (3, 2, 1, 1, 2, None),
            (8, 2, 1, 0, 2, None),
            (45, 3, 1, 1, 4, None),
            (45, 2, 0, 0, 2, None),
            (45, 2, 1, 3, 2, None),
            (45, 99, 1, 1, 2, None),
            (45, 4, 1, 1, 4, 5),
        )
    ),
    *(
        Case(
            "biformer_bra",
            {"y": y, "x": x},
            {"regions": r, "topk": k, "edge": edge, "routing": routing},
            heads=h,
            kv_heads=g,
        )
        for y, x, r, k, edge, routing in (
            (4, 4, 1, 1, "fit", "hard"),
            (6, 4, 2, 1, "fit", "hard"),
            (6, 9, 3, 4, "fit", "hard"),
            (4, 4, 2, 9, "fit", "hard"),
            (5, 8, 2, 2, "zero", "hard"),
            (5, 7, 3, 3, "zero", "hard"),
            (4, 6, 2, 1, "zero", "hard"),
            (4, 4, 1, 1, "fit", "soft"),
            (6, 9, 3, 4, "fit", "soft"),
            (4, 4, 2, 9, "fit", "soft"),
            (5, 7, 3, 3, "zero", "soft"),
        )
        for h, g in ((1, 1), (3, 3), (4, 2))
    ),
    *(
        Case(
            "vmoba",
            {"t": t, "y": 4, "x": 6},
            {"tau": tau, "partition": d, "run": 2.0, "block_t": 2, "block_y": 2, "block_x": 3},
        )
        for t, d in ((2, "d1"), (3, "d1"), (2, "d2"), (3, "d2"), (2, "d3"), (4, "d3"))
        for tau in (0.0, 0.25, 0.6)
    ),
    Case("vmoba", {"t": 2, "y": 4, "x": 6}, {"block_t": 2, "block_y": 2, "block_x": 2}, heads=4),
    *(
        Case(
            "vmoba",
            {"t": 3, "y": 3, "x": 5},
            {"partition": d, "run": 0.7, "block_t": 2, "block_y": 2, "block_x": 2}
            | {"scope": scope, "tau": 0.4},
        )
        for d in ("d1", "d2", "d3")
        for scope in ("query_head", "block", "head_global", "overall")
    ),
    *(
        Case(
            "vmoba",
            {"t": 2, "y": 3, "x": 5},
            {"by": "top", "topk": topk, "block_y": 2, "block_x": 3, "alone": alone}
            | {"scope": scope},
            heads=4,
        )
        for topk, alone in ((1, "dense"), (1, "own"), (2, "dense"), (99, "own"))
        for scope in ("query_head", "head_global", "overall")
    ),
    *(
        Case(
            "dsa",
            {"n": n},
            {"topk": k, "index_heads": i, "index_dim": 3},
            heads=h,
            kv_heads=g,
            n_q=n_q,
            ties=ties,
        )
        for n, k, i, h, g, n_q, ties in (
            (1, 1, 2, 2, 2, None, False),
            (9, 4, 3, 2, 2, None, False),
            (21, 5, 4, 4, 1, None, False),
            (21, 99, 1, 4, 2, None, False),
            (21, 5, 4, 4, 2, 6, False),
            (21, 5, 4, 4, 2, 1, False),
            (24, 6, 1, 2, 2, None, True),
        )
    ),
    *(
        Case(
            "moh",
            {"n": n},
            {"shared": s, "topk": k, "gates": gates, "causal": causal},
            heads=h,
            kv_heads=g,
        )
        for gates in ("weights", "ones")
        for n, s, k, causal, h, g in (
            (1, 1, 1, True, 2, 2),
            (7, 2, 2, True, 6, 3),
            (9, 0, 2, False, 4, 2),
            (6, 3, 1, True, 4, 1),
            (5, 1, 0, True, 3, 3),
        )
    ),
    *(
        Case(
            "routing_transformer",
            {"n": n},
            {"window": w, "clusters": c, "keys": keys, "causal": causal}
            | {
                "memory": "learned" if slots else "none",
                "slots": max(slots, 1),
                "padding": padding,
            },
            values=4 if slots else 3,
        )
        for n, w, c, slots, padding in (
            (1, 1, 1, 0, "none"),
            (9, 4, 3, 2, "none"),
            (17, 5, 4, 0, "keys"),
            (16, 99, 2, 1, "keys"),
            (17, 5, 4, 0, "none"),
        )
        for keys, causal in (
            ("shared", True),
            ("shared", False),
            ("own", True),
            ("own", False),
            ("context", False),
        )
    ),
]
CASES = [case for case in ALL if case.name in attnlang.stdlib.names()]
