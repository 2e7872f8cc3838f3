"""The calls of patterns with gated heads, tokens that leave, tied projections and single queries."""

from __future__ import annotations

from tests.stdlib.composed_case import Case

LATE = [[False] * 7, [i >= 5 for i in range(7)]]

RECIPES: list[Case] = [
    *(
        Case("bam_moa", {"n": 7}, {"experts": e}, heads, kv, learned={"route": (2, 7, e)})
        for e, heads, kv in ((2, 4, 4), (4, 4, 1), (3, 6, 2), (1, 2, 2))
    ),
    *(
        Case("vhr", {"n": 7}, {"alpha": a, "share": s}, heads, 1, learned={"vhd": (heads,)})
        for a, s, heads in ((2.0, 0.5, 4), (3.0, 0.5, 5), (2.0, 0.0, 2), (0.5, 1.0, 2))
    ),
    *(
        Case("gtsp", {"n": 7}, {"ratio": r}, 4, learned={"score_of": (2, 7), "importance": (4,)})
        for r in (0.5, 1.0, 0.1)
    ),
    *(
        Case(
            "vtc_cls",
            {"n": 7},
            {"keep": keep},
            4,
            kv,
            learned={"relevance": (2, 7)},
            shapes=((4, 8, 4), (kv, 8, 4), (kv, 8, 3)),
        )
        for keep, kv in ((3, 2), (0, 4), (9, 1))
    ),
    *(
        Case(
            "adaptinfer",
            {"n": 11},
            {"keep": keep},
            4,
            kv,
            inputs={"image": [[2 <= i < 8 for i in range(11)], [i in (0, 1, 5, 6, 7) for i in range(11)]]},
        )
        for keep, kv in ((2, 2), (0, 4), (4, 1), (20, 2))
    ),
    *(
        Case("score_inject", {"n": 7}, {"places": f}, 2, inputs={"place": place}, learned={"z": (2, 2, 7, f)})
        for f, place in (
            (3, [[-1, -1, 0, 1, -1, 2, -1], [2, -1, -1, 1, 0, -1, -1]]),
            (2, [[-1] * 7, [0] + [-1] * 5 + [1]]),
        )
    ),
    *(
        Case(name, {"n": n}, {"causal": c}, 2, 2, widths=(4, 4))
        for name in ("minimal_symmetric", "minimal_collapsed")
        for n, c in ((7, False), (7, True), (1, True))
    ),
    *(
        Case(
            "disentangled_bias",
            {"n": 7},
            {"reach": r},
            4,
            kv,
            learned={"Kr": (4, 2 * r, 4), "Qr": (4, 2 * r, 4)},
            inputs=pad,
        )
        for r, kv in ((7, 4), (2, 2), (1, 1))
        for pad in ({}, {"pad": LATE})
    ),
    *(
        Case("st_link_se", {"n": 7}, {"base": base}, 4, kv, learned={"psi": (2, 7, 2)})
        for base, kv in ((10000.0, 4), (10.0, 2))
    ),
    *(
        Case(
            "attention_at",
            {},
            {},
            heads,
            1,
            learned={"r": (2, 7)},
            inputs=pad,
            shapes=((heads, 1, 4), (1, 7, 4), (1, 7, 3)),
        )
        for heads in (1, 2)
        for pad in ({}, {"pad": LATE}, {"pad": [[True] * 7, [False] * 7]})
    ),
    *(
        Case(
            "conditional_cross_attention",
            {"n": 7},
            {"conditions": 3},
            4,
            kv,
            learned={"E": (4, 3, 4)},
            inputs={"cond": [2, 0]},
        )
        for kv in (4, 2)
    ),
    *(
        Case(
            "gated_cls",
            {},
            {},
            heads,
            kv,
            learned={"gate": (heads, 4)},
            shapes=((heads, 1, 4), (kv, 7, 4), (kv, 7, 4)),
        )
        for heads, kv in ((2, 2), (4, 1))
    ),
]  # fmt: skip
