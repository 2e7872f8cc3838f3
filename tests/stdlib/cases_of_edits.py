"""The calls of patterns that edit weights after the softmax."""

from __future__ import annotations

from tests.stdlib.composed_case import Case

PICTURE = [[2 <= i < 8 for i in range(n)] for n in (11, 11)]
SINKS = [[i in (0, 3, 9) for i in range(11)], [i in (0, 4, 7) for i in range(11)]]
TEXT = [i < 4 for i in range(9)]

EDITS: list[Case] = [
    *(
        Case("act_calibration", {"n": n}, {"alpha": alpha, "beta": beta}, 4, kv, inputs=chosen)
        for n, alpha, beta, kv in ((9, 1.0, 0.4, 2), (12, 0.5, 0.0, 4), (9, 5.0, 0.4, 1), (1, 0.5, 0.4, 2))
        for chosen in ({"chosen": [True, False, True, True]},)
    ),
    *(
        Case(
            "var_redistribution",
            {"n": 11},
            {"rho": rho, "p": p, "summ": least},
            4,
            kv,
            inputs={"image": PICTURE, "sink": sink},
        )
        for rho, p, least, kv, sink in (
            (0.5, 0.6, 0.2, 2, SINKS),
            (0.9, 0.0, 0.1, 4, SINKS),
            (0.3, 0.6, 0.5, 1, SINKS),
            (0.5, 0.6, 0.2, 2, [[i in (0, 9) for i in range(11)], [False] * 11]),
        )
    ),
    *(
        Case("fix_imbalanced", {"n": 9}, {}, 4, inputs={"chosen": chosen, "boost": [0.5, 0.0, 2.0, 1.0]})
        for chosen in ([[i in (1, 4, 5) for i in range(9)]] * 2, [[False] * 9, [True] * 9])
    ),
    *(
        Case("ditctrl_reweight", {"n": 9}, {"c": c}, 4, inputs={"text": TEXT, "word": word})
        for c, word in (
            (1.5, [[i in (1, 2) for i in range(9)], [i in (3, 6) for i in range(9)]]),
            (0.0, [[i == 0 for i in range(9)]] * 2),
        )
    ),
    *(
        Case(
            "tcpa_prompt",
            {"n": n},
            {"groups": groups, "length": length, "topk": top, "dim": 5},
            heads,
            kv,
            learned={
                "x": (2, n, 5),
                "x_cls": (2, 1, 5),
                "cls_key": (groups, 5),
                "image_key": (groups, 5),
            },
            shapes=(
                (heads, 1 + n, 4),
                (kv, 1 + 2 * groups * length + n, 4),
                (kv, 1 + 2 * groups * length + n, 3),
            ),
        )
        for n, groups, length, top, heads, kv in ((5, 4, 2, 2, 2, 1), (4, 3, 1, 3, 2, 2), (4, 3, 2, 0, 2, 2))
    ),
]  # fmt: skip
