"""The calls at which composed patterns are compared with their oracles."""

from __future__ import annotations

from tests.oracles import (
    branches,
    channels,
    dense,
    edits,
    latent,
    long_short,
    pooled_queries,
    recipes,
    trees,
)
from tests.oracles.composed import Oracle
from tests.stdlib.cases_of_edits import EDITS
from tests.stdlib.cases_of_recipes import RECIPES
from tests.stdlib.composed_case import Case, Shape

__all__ = ["CASES", "ORACLES", "Case"]

ORACLES: dict[str, Oracle] = {
    name: oracle
    for family in (
        branches,
        channels,
        dense,
        edits,
        latent,
        long_short,
        pooled_queries,
        recipes,
        trees,
    )
    for name, oracle in family.ORACLES.items()
}


def biases(heads: int, agents: int, y: int, x: int) -> dict[str, Shape]:
    """The shapes of agent attention's tables."""
    pooled = {"ah": (heads, agents, y), "aw": (heads, agents, x)}
    read = {"ha": (heads, y, agents), "wa": (heads, x, agents)}
    return {"an": (heads, agents, 7, 7), "na": (heads, agents, 7, 7), **pooled, **read}


DUAL = ("long_gain", "long_shift", "short_gain", "short_shift")
"""The weights of Transformer-LS's two norms."""

CASES: list[Case] = [
    *(
        Case("music_relative", {"n": n}, {"reach": r}, 4, learned={"E": (4, r, 4)})
        for n, r in ((11, 11), (11, 20), (11, 4), (1, 1))
    ),
    *(
        Case(
            "rcmha",
            {"n": 9},
            {"reach": r, "causal": c},
            4,
            learned={"u": (4, 4), "R": (4, 2 * r, 4), "c": (4, 2 * r)},
        )
        for r, c in ((9, True), (3, True), (3, False), (20, False))
    ),
    *(
        Case("vstar_tar", {"t": t}, {"strength": strength, "sigma": sigma}, kv_heads=kv)
        for t, strength, sigma, kv in ((9, 1.0, 2.0, 2), (9, -0.5, 4.0, 1), (1, 1.0, 1.0, 2))
    ),
    *(
        Case("hilo", {"y": y, "x": x}, {"window": w, "alpha": a}, heads, heads)
        for y, x, w, a, heads in (
            (4, 6, 2, 0.5, 2),
            (4, 6, 2, 0.9, 3),
            (3, 3, 3, 0.0, 1),
            (4, 2, 2, 1.0, 2),
            (2, 3, 1, 0.5, 2),
        )
    ),
    *(
        Case("combiner_fixed", {"n": n}, {"segment": size}, 4)
        for n, size in ((13, 4), (12, 4), (5, 8), (6, 1))
    ),
    *(Case("combiner_logsparse", {"n": n}, {}, 4) for n in (1, 2, 13, 16)),
    *(
        Case("combiner_axial", {"n": n}, {"segment": size}, 4)
        for n, size in ((12, 4), (11, 4), (3, 5), (4, 1))
    ),
    *(
        Case("cca_core", {"n": n}, {"group": g, "window": w, "core": core}, 4)
        for n, g, w, core in (
            (17, 3, 4, "last"),
            (16, 4, 4, "last"),
            (16, 4, 1, "last"),
            (9, 2, 20, "last"),
            (7, 1, 3, "last"),
            (3, 4, 1, "last"),
            (17, 3, 4, "mean"),
            (16, 4, 1, "max"),
        )
    ),
    *(Case("ista", {"n": n}, learned={"M": (2, n, n), "alpha": (2,)}) for n in (1, 9)),
    *(
        Case("dependency_vit", {"n": n}, {}, 4, learned={"chosen": (2, n, 4), "message": (2, n)})
        for n in (1, 9)
    ),
    *(
        Case("criss_cross", {"y": y, "x": x}, kv_heads=kv)
        for y, x, kv in ((3, 4, 2), (1, 5, 1), (6, 1, 2))
    ),
    *(Case("pam", {"y": y, "x": x}, kv_heads=kv) for y, x, kv in ((3, 4, 2), (1, 5, 1))),
    *(
        Case("lama_pool", {"n": 7}, {}, 3, inputs=pad, shapes=((3, 1, 2), (3, 7, 2), (3, 7, 5)))
        for pad in ({}, {"pad": [[False] * 5 + [True] * 2, [True] * 7]})
    ),
    *(
        Case(
            "hydra_head",
            {"n": n},
            {},
            3,
            3,
            learned={"gain": (3,), "beta": (2, n, 3)},
            inputs={"full": full},
            falling={"a": (2, n, 3)},
        )
        for n, full in ((9, [True, False, True]), (5, [False] * 3), (5, [True] * 3))
    ),
    *(
        Case(
            "pointer_network",
            {},
            {},
            heads,
            kv,
            learned={"w": (heads, 3)},
            inputs=pad,
            shapes=((heads, 4, 3), (kv, 6, 3), (kv, 6, 3)),
        )
        for heads, kv in ((1, 1), (4, 2))
        for pad in ({}, {"pad": [[False] * 5 + [True], [True] * 6]})
    ),
    *(
        Case(
            "hsa_tree",
            {"n": len(a)},
            {"groups": len(b), "outers": outers},
            4,
            inputs={"tree": [[*a, *b], [*a[::-1], *b]]},
        )
        for a, b, outers in (
            ((0, 0, 0, 1, 1, 2, 2, 2, 2), (0, 0, 1), 2),
            ((0, 1, 0, 2, 3, 3, 1, 2), (2, 2, 2, 0), 3),
            ((0,) * 4, (0,), 1),
            ((0, 1, 2, 3), (0, 1, 2, 3), 4),
            ((3, 3, 1, 1, 1, 4), (0, 0, 1, 2, 0), 4),
        )
    ),
    *(
        Case(
            "hsa_tree",
            {"n": n},
            {"groups": groups, "outers": outers, "depth": depth},
            heads=2,
            inputs={"tree": [[*tree], [*tree[:n][::-1], *tree[n:]]]},
        )
        for n, groups, outers, depth, tree in (
            (7, 3, 1, 1, (0, 2, 2, 0, 1, 1, 1)),
            (9, 5, 3, 3, (0, 0, 1, 2, 2, 3, 4, 4, 4, 0, 0, 1, 1, 2, 0, 0, 1)),
            (8, 4, 3, 3, (3, 1, 1, 0, 0, 0, 2, 3, 2, 2, 0, 0, 1, 1, 1)),
            (6, 6, 4, 4, (*range(6), 0, 0, 1, 1, 2, 3, 0, 0, 1, 2, 0, 1, 1, 3)),
            (5, 2, 2, 4, (0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0)),
        )
    ),
    *(
        Case("davit_channel", {"y": y, "x": x}, {"group": 4}, heads, heads, widths=(4, 4))
        for y, x, heads in ((3, 4, 2), (1, 2, 1))
    ),
    *(
        Case("cam", {"y": y, "x": x}, {}, heads, heads, widths=(5, 5))
        for y, x, heads in ((2, 3, 1), (1, 1, 2))
    ),
    *(
        Case("shvit_shsa", {"y": 2, "x": 4}, {"attended": some, "channels": 6}, 1, 1, widths=(4, 6))
        for some in (2, 6)
    ),
    *(
        Case("mla", {"n": 7}, {"latent": 4, "rope": 2, "nope": nope}, 3, 1, widths=(6, 6))
        for nope in (3, 8)
    ),
    *(
        Case(
            "gla_latent",
            {"n": 7},
            {"shards": g, "latent": 8, "rope": 2, "nope": 5},
            4,
            g,
            widths=(8 // g + 2, 1),
        )
        for g in (1, 2, 4)
    ),
    *(
        Case(
            "tpla",
            {"n": 7},
            {"shards": g, "latent": 8, "rope": 2, "nope": 5},
            2 * g,
            g,
            widths=(8 // g + 2, 1),
            learned={"mu": (g,)},
            inputs={"alpha": [1.5, 0.5, 2.0, 4.0][:g]},
        )
        for g in (1, 2, 4)
    ),
    *(
        Case(
            "lquery",
            {"n": 8},
            {"length": length},
            2,
            2,
            widths=(3, 3),
            learned={f"{n}_weights": (2, 3, 6) for n in ("query", "key", "value")},
            inputs={"pad": [[True] * 3 + [False] * 5, [i in (0, 4, 5) for i in range(8)]]},
        )
        for length in (1, 3, 20)
    ),
    *(
        Case(
            "combiner_rowmajor",
            {"n": n},
            {"segment": 4, "stage": stage},
            2,
            1,
            shapes=((2, n, 4), (1, keys * n, 4), (1, keys * n, 3)),
        )
        for n in (12, 10)
        for stage, keys in (("rows", 1), ("joint", 2))
    ),
    *(
        Case("agent_attention", {"y": y, "x": x}, {"agents": a}, 4, learned=biases(4, a, y, x))
        for y, x, a in ((4, 4, 4), (5, 3, 4), (8, 3, 9))
    ),
    Case("agent_attention", {"y": 3, "x": 5}, {"agents": 4}),
    *(
        Case(
            "agent_attention_sd",
            {"n": n},
            {"agents": a, "k_scale2": power, "k_shortcut": shortcut},
            4,
            kv,
            learned={"agent": (2, 4, a, 4)},
        )
        for n, a, power, shortcut, kv in (
            (9, 4, 0.3, 0.075, 4),
            (9, 1, 1.0, 0.5, 2),
            (8, 4, 0.3, 0.075, 4),
            (3, 5, 0.3, 0.5, 1),
        )
    ),
    *(
        Case(
            "abc",
            {"n": n},
            {"slots": r, "causal": c},
            4,
            kv,
            learned={"key_control": (r, 3), "value_control": (r, 3)},
            inputs=pad,
            widths=(3, 3),
        )
        for n, r, c, kv in ((7, 3, False, 2), (7, 3, True, 4), (4, 1, True, 4), (4, 5, False, 4))
        for pad in ({}, {"pad": [[i < 2 for i in range(n)], [i == n - 1 for i in range(n)]]})
    ),
    Case(
        "abc",
        {"q.n": 3, "k.n": 6},
        {"slots": 2, "causal": False},
        learned={"key_control": (2, 4), "value_control": (2, 4)},
        shapes=((2, 3, 4), (2, 6, 4), (2, 6, 4)),
    ),
    *(
        Case("nystrom", {"n": n}, {"landmarks": m}, 4)
        for n, m in ((12, 4), (13, 4), (5, 5), (6, 1))
    ),
    *(
        Case(
            "long_short",
            {"n": n},
            {"slots": r, "window": w, "causal": causal, "chunk": chunk},
            2,
            2,
            widths=(3, 3),
            inputs=pad,
            learned={"scores": (2, n, 2, r), **dict.fromkeys(DUAL, (6,))},
        )
        for n, r, w, causal, chunk in (
            (11, 2, 3, False, 4),
            (8, 3, 4, False, 4),
            (5, 1, 1, False, 4),
            (11, 2, 3, True, 4),
            (12, 1, 6, True, 3),
            (4, 2, 1, True, 9),
            (5, 1, 9, True, 1),
        )
        for pad in ({}, {"pad": [[i > n - 3 for i in range(n)], [i == 1 for i in range(n)]]})
    ),
    *EDITS,
    *RECIPES,
]
