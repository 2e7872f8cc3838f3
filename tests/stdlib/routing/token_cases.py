"""The calls of the patterns that choose single tokens, by what these are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

import attnlang
from tests.stdlib.routing import searches, tokens
from tests.stdlib.routing.cases import Case, draw
from tests.stdlib.routing.oracle import Call
from tests.stdlib.routing.searches import hyper_recursion

ORACLES = {**tokens.ORACLES, **searches.ORACLES}


@dataclass(frozen=True)
class TokenCase(Case):
    """between: queries and keys where they are not one sequence of these sizes."""

    between: tuple[int, int] | None = None

    @property
    def lengths(self) -> tuple[int, int]:
        return self.between or super().lengths

    def inputs(self, made: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return INPUTS[self.name](made, generator) if self.name in INPUTS else {}


def some(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers above 0, some of them equal."""
    return torch.rand(shape, generator=generator).mul(32).round().div(32).double()


def mass(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"mass": some((*call.q.shape[:2], call.k.shape[2]), generator)}


def probes(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The last row of every sequence, and others at random."""
    probe = torch.rand((len(call.q), call.q.shape[2]), generator=generator) < 0.4
    probe[:, -1] = True
    return {"probe": probe}


def words(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    shape = (len(call.q), call.q.shape[2])
    token = torch.randint(0, 2 + shape[1] // 2, shape, generator=generator)
    return {"token": token, "gate": some(shape, generator)}


def rollout(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"rollout": some((len(call.q), call.q.shape[2] - 1), generator)}


def keypoints(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    batch, heads, side = *call.q.shape[:2], 2 * call.params["radius"] + 1
    shape = (batch, call.sizes["kind"], call.sizes["point"])
    return {
        "quality": draw(shape, generator),
        "at_y": draw(shape, generator) * 3 + 1,
        "at_x": draw(shape, generator) * 3 + 1,
        "bias": draw((heads, side, side), generator),
    }


def routes(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """With padding where all attend all, and the batch's longest list where ``kept`` is told."""
    route, kept = draw(call.q.shape[:3], generator).softmax(1), call.params["kept"]
    made = {"route": route}
    if kept:
        best = torch.zeros_like(route).scatter_(1, route.topk(kept, 1).indices, 1.0)
        made["longest"] = best.sum(-1).max().int()
    if not call.params["causal"]:
        made["pad"] = torch.rand(len(route), route.shape[2], generator=generator) < 0.3
    return made


def draws(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"draw": some((*call.q.shape[:3], call.k.shape[2]), generator)}


def factors(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    rank, n = call.params["rank"], call.k.shape[2]
    return {
        "coefficients": some((*call.q.shape[:3], rank), generator),
        "basis": some((n, rank), generator),
    }


def hashing(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Directions, and how often each key was drawn: never, once, or more; at each level where the
    sequence is halved, from the first halves."""
    batch, heads, n = call.q.shape[:3]
    p = call.params
    levels = p["levels"] if p.get("causal") else 1
    drawn = torch.zeros(batch, heads, levels, n, dtype=torch.int64)
    for met in hyper_recursion(n, p)[0]:
        ids = torch.randint(0, len(met.keys), (batch, heads, p["samples"]), generator=generator)
        drawn[:, :, met.level].scatter_add_(2, ids + met.keys.start, torch.ones_like(ids))
    directions = draw((p["projections"], call.q.shape[3]), generator)
    return {"R": directions, "drawn": drawn.flatten(2)}


def landmarks(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Every block's end, and another spacing for the second sample."""
    n, block = call.q.shape[2], call.params["block"]
    is_mem = torch.zeros(len(call.q), n, dtype=torch.bool)
    is_mem[0, block :: block + 1] = True
    is_mem[1:, 2 * block + 1 :: block + 2] = True
    if block == 0:
        is_mem[0, 1::2] = False
    return {"is_mem": is_mem}


def samples(call: Call, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """For each query keys drawn with replacement, counted."""
    n_q, n_k = call.q.shape[2], call.k.shape[2]
    count = call.params["factor"] * math.ceil(math.log(n_k))
    ids = torch.randint(0, n_k, (n_q, count), generator=generator)
    drawn = torch.zeros(n_q, n_k, dtype=torch.int64)
    return {"drawn": drawn.scatter_add_(1, ids, torch.ones_like(ids))}


INPUTS: dict[str, Callable[[Call, torch.Generator], dict[str, torch.Tensor]]] = {
    "h2o": mass,
    "zipvl": probes,
    "zoology_selective": words,
    "dcal_glca": rollout,
    "bvr_keysample": keypoints,
    "uoe_smha": routes,
    "acmil_stkim": draws,
    "sparsifiner": factors,
    "probsparse": samples,
    "landmark_grouped": landmarks,
    "hyper_attention": hashing,
}

CASES: list[Case] = [
    case
    for case in (
        *(
            TokenCase("h2o", {"n": n}, {"heavy": heavy, "recent": recent}, heads=4, n_q=q)
            for n, heavy, recent, q in (
                (1, 2, 1, None),
                (13, 2, 3, None),
                (13, 0, 1, None),
                (19, 3, 4, 1),
                (9, 4, 4, 1),
                (10, 4, 4, 1),
                (23, 99, 2, 5),
            )
        ),
        *(
            TokenCase("zipvl", {"n": n}, {"tau": tau}, heads=h)
            for n, tau, h in ((1, 0.9, 2), (17, 0.0, 2), (17, 0.5, 4), (18, 0.8, 2), (9, 0.97, 4))
        ),
        *(
            TokenCase("zoology_selective", {"n": n}, {"by": by, "topk": k}, heads=h)
            for n, by, k, h in (
                (1, "repeated", 1, 2),
                (15, "repeated", 1, 4),
                (15, "learned", 4, 2),
                (6, "learned", 99, 2),
            )
        ),
        *(
            TokenCase("dcal_glca", {"n": n}, {"ratio": r}, heads=h, between=(n + 1, n + 1))
            for n, r, h in ((1, 0.1, 2), (9, 0.3, 4), (17, 0.1, 2), (16, 0.0, 2), (7, 1.0, 2))
        ),
        *(
            TokenCase("dcal_pwca", {"n": n, "other": m}, heads=h, between=(n, n + m))
            for n, m, h in ((1, 1, 2), (7, 9, 4), (5, 0, 2))
        ),
        *(
            TokenCase(
                "bvr_keysample",
                {"y": y, "x": x, "kind": kinds, "point": p},
                {"topk": k, "radius": r},
                heads=h,
                between=(y * x, kinds * p),
            )
            for y, x, kinds, p, k, r, h in (
                (3, 4, 1, 7, 3, 2, 2),
                (3, 4, 2, 7, 3, 6, 4),
                (2, 3, 2, 5, 99, 1, 2),
                (2, 3, 2, 5, 0, 1, 2),
            )
        ),
        *(
            TokenCase("uoe_smha", {"n": n}, params, heads=h, kv_heads=h)
            for n, h, params in (
                (1, 2, {}),
                (13, 4, {}),
                (8, 1, {}),
                (17, 6, {}),
                (13, 4, {"kept": 1}),
                (11, 4, {"kept": 3}),
                (9, 4, {"causal": False}),
                (13, 3, {"kept": 1, "causal": False}),
            )
        ),
        *(
            TokenCase("adem_vl", {"n": n, "m": m}, {"drop": d}, heads=h, between=(n, m))
            for n, m, d, h in ((1, 1, 0.1, 2), (5, 9, 0.3, 4), (4, 8, 0.0, 2), (3, 17, 0.9, 2))
        ),
        *(
            TokenCase(
                "acmil_stkim",
                {"branch": b, "n": n},
                {"top": top, "ratio": r},
                heads=h,
                between=(b, n),
            )
            for b, n, top, r, h in (
                (1, 1, 10, 0.6, 2),
                (3, 19, 10, 0.6, 4),
                (2, 5, 3, 0.0, 2),
                (2, 7, 10, 0.9, 2),
            )
        ),
        *(
            TokenCase(
                "sparsifiner",
                {"n": n},
                {"by": by, "keep": keep, "threshold": 0.1, "rank": r},
                heads=h,
            )
            for n, keep, r, h, by in (
                (1, 0.25, 1, 2, "share"),
                (13, 0.25, 3, 4, "share"),
                (8, 0.0, 2, 2, "share"),
                (6, 1.0, 2, 2, "share"),
                (9, 0.0, 3, 4, "threshold"),
            )
        ),
        *(
            TokenCase(
                "hyper_attention",
                {"n": n},
                {"block": b, "samples": m, "projections": r, "sampling": how},
                heads=h,
                kv_heads=h,
            )
            for n, b, m, r, how, h in (
                (1, 4, 2, 1, "uniform", 2),
                (17, 4, 9, 3, "uniform", 2),
                (16, 5, 3, 2, "first", 4),
                (9, 16, 20, 4, "first", 2),
                (13, 1, 2, 8, "uniform", 2),
            )
        ),
        *(
            TokenCase(
                "hyper_attention",
                {"n": n},
                {
                    **{"block": b, "samples": m, "projections": r, "sampling": how},
                    **{"causal": True, "min_seq": least, "levels": levels},
                },
                heads=2,
                kv_heads=2,
            )
            for n, least, levels, b, m, r, how in (
                (1, 4, 1, 4, 2, 2, "uniform"),
                (16, 4, 2, 3, 2, 3, "uniform"),
                (23, 3, 3, 2, 3, 3, "uniform"),
                (19, 2, 5, 4, 2, 2, "first"),
                (9, 1, 4, 1, 1, 3, "uniform"),
                (12, 5, 3, 8, 4, 3, "first"),
            )
        ),
        *(
            TokenCase(
                "landmark_grouped", {"n": n}, {"block": b, "topk": k, "choice": choice}, heads=h
            )
            for n, b, k, h, choice in (
                (1, 3, 0, 2, "token_head"),
                (14, 3, 0, 4, "token_head"),
                (17, 4, 2, 2, "token_head"),
                (18, 2, 1, 4, "token_head"),
                (9, 0, 0, 2, "token_head"),
                (7, 50, 0, 2, "token_head"),
                (18, 2, 2, 4, "token"),
                (18, 2, 2, 2, "head"),
            )
        ),
        *(
            TokenCase("probsparse", {"n": n, "m": m}, {"factor": f}, heads=h, between=(n, m))
            for n, m, f, h in ((1, 1, 5, 2), (12, 9, 1, 4), (9, 17, 2, 2), (5, 6, 5, 2))
        ),
        *(
            TokenCase(
                "hip_attention",
                {"n": n},
                {
                    **{"mask_k": m, "block_q": a, "block_k": u, "window": w, "sinks": s},
                    **{"representative": asked, "by": "halving"},
                },
                heads=h,
                ties=ties,
            )
            for n, m, a, u, w, s, h, ties, asked in (
                (1, 4, 4, 2, 1, 0, 2, False, "first"),
                (17, 4, 4, 2, 3, 0, 2, False, "first"),
                (33, 3, 8, 1, 0, 1, 4, False, "first"),
                (40, 6, 4, 3, 5, 2, 2, False, "first"),
                (29, 5, 3, 2, 2, 0, 2, True, "first"),
                (12, 64, 4, 2, 3, 0, 2, False, "first"),
                (1, 2, 4, 2, 0, 0, 2, False, "centre"),
                (33, 3, 8, 1, 0, 1, 4, False, "centre"),
                (41, 6, 4, 3, 5, 2, 2, False, "centre"),
                (29, 5, 3, 2, 2, 0, 2, True, "centre"),
            )
        ),
        *(
            TokenCase(
                "hip_attention",
                {"n": n},
                {
                    **{"mask_k": m, "block_q": a, "block_k": u, "window": w, "sinks": s},
                    **{"representative": asked, "by": "stages"},
                    **{"chunk_1": c, "keep_1": kept, "chunk_2": d, "keep_2": fewer},
                },
                ties=ties,
            )
            for n, m, a, u, w, s, asked, c, kept, d, fewer, ties in (
                (1, 2, 4, 1, 0, 0, "first", 4, 8, 2, 4, False),
                (47, 4, 4, 2, 3, 1, "first", 8, 24, 4, 8, False),
                (53, 3, 8, 1, 5, 0, "centre", 12, 24, 4, 12, False),
                (61, 9, 5, 3, 2, 2, "centre", 18, 36, 6, 18, False),
                (38, 4, 3, 2, 0, 0, "centre", 8, 16, 4, 8, True),
                (26, 64, 4, 2, 3, 0, "first", 4, 64, 2, 64, False),
            )
        ),
    )
    if case.name in attnlang.stdlib.names()
]
