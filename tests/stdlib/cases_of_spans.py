"""Calls of the patterns with chunks, spans, memories and packed documents."""

from __future__ import annotations

from tests.stdlib.case import PACKED, Case, documents, lines

WHOLE = PACKED[:3]
"""Packed documents that lie in one piece each."""


def starts(doc: list[int]) -> list[int]:
    return [doc.index(d) for d in doc]


def biases(chunk: int) -> list[float]:
    """A table of relative biases, no two alike."""
    return [0.25 * i - 1.0 for i in range(2 * chunk - 1)]


SPANS = (
    *(
        Case("sinklora_sf", {"n": n}, {"group_ratio": g, "restored": r, "sinks": s}, heads)
        for n, g in ((16, 4), (18, 4), (30, 1), (65, 5))
        for r, s in ((0.5, 4), (0.0, 0), (1.0, 70))
        for heads in (1, 2, 5)
    ),
    *(
        Case(
            "moa_elastic",
            s,
            {"sinks": k, "block": b, "new_tokens": new},
            2,
            {"alpha": alpha, "beta": beta},
        )
        for s in lines(1, 31, 64, 65)
        for k, b, new in ((4, 4, 0), (0, 8, 3), (16, 8, 40))
        for alpha, beta in (([0.0, 5.0], [0.5, 0.25]), ([-40.0, 1e9], [1.0, 0.0]))
    ),
    *(
        Case("titans_mag", s, {"window": w, "persistent": p})
        for s in lines(1, 31, 64, 65)
        for w, p in ((1, 3), (16, 0), (70, 5))
    ),
    *(
        Case(
            "titans_mac",
            {"n": n},
            {"segment": c, "persistent": p, "memory": m},
        )
        for n, c in ((1, 1), (33, 8), (64, 16), (65, 100))
        for p, m in ((3, 2), (0, 1), (5, 7))
    ),
    *(
        Case(
            "mega_chunk", s, {"chunk": c, "activation": a, "causal": causal}, 2, {"bias": biases(c)}
        )
        for s in lines(1, 31, 64, 65)
        for c, a in ((1, "softmax"), (16, "laplace"), (50, "relu2"))
        for causal in (False, True)
    ),
    Case("mega_chunk", {"n": 33}, {"chunk": 7}),
    *(
        Case("cab_local", s, {"window": w, "mode": mode})
        for s in lines(1, 31, 64, 65)
        for w in (1, 15, 70)
        for mode in ("noncausal_self", "causal_self")
    ),
    *(
        Case("cab_local", {"q.n": q, "k.n": k}, {"window": 3, "mode": mode})
        for q, k in ((17, 33), (40, 8))
        for mode in ("noncausal_cross", "causal_cross")
    ),
    *(
        Case(
            "lca_prefix_lm_document",
            {"n": 32},
            {"prefix": p},
            inputs={"doc": [d], "start": [starts(d)]},
        )
        for d in WHOLE
        for p in (0, 3, 50)
    ),
    Case(
        "lca_prefix_lm_document",
        {"n": 65},
        {"prefix": 9},
        2,
        {"doc": [documents(40, 25)] * 2, "start": [starts(documents(40, 25))] * 2},
    ),
    *(
        Case("lca_causal_blockwise", {"n": 32}, heads=2, inputs={"doc": [d], "last": [max(d)]})
        for d in PACKED
    ),
    Case(
        "lca_causal_blockwise",
        {"n": 32},
        inputs={"doc": list(PACKED), "last": [max(d) for d in PACKED]},
    ),
    *(
        Case("head_roles", s, {"window": w, "sinks": k}, len(roles), {"retrieval": roles})
        for s in lines(9, 31, 64, 65)
        for w, k, roles in (
            (3, 2, [True, False]),
            (16, 0, [False]),
            (1, 1, [False, True, True, False]),
        )
    ),
    *(
        Case("bidir_or_causal", s, {"mask": mask}, heads, {"pad": pad})
        for s in lines(1, 9, 65)
        for mask in ("causal", "bidirectional")
        for heads, pad in ((2, [[i >= 5 for i in range(s["n"])]]), (1, None))
    ),
)
