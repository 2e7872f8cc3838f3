"""Calls of the patterns with prefixes, regions, roles and graphs."""

from __future__ import annotations

from tests.oracles.multimodal import hop_distances
from tests.stdlib.case import Case, documents, lines

SKELETON = [(0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
            (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)]  # fmt: skip
"""The bones between the 17 joints of Human3.6M."""


def padded(n: int, *lengths: int) -> list[list[bool]]:
    """For each sample, whether a token lies behind its length."""
    return [[i >= length for i in range(n)] for length in lengths]


def chain(n: int, *cut: int) -> list[list[int]]:
    """Hops along a line of n joints, some bones left out."""
    return hop_distances(n, [(i, i + 1) for i in range(n - 1) if i not in cut]).tolist()


ROLES = (
    *(
        Case("croc_mixed", s, inputs={"prefix": prefix, "pad": None})
        for s in lines(1, 31, 64, 65)
        for prefix in ([0], [1], [20, 70, 3])
    ),
    Case("croc_mixed", {"n": 9}, heads=2, inputs={"prefix": [2], "pad": padded(9, 7)}),
    Case("croc_mixed", {"n": 65}, inputs={"prefix": [9, 40, 0], "pad": padded(65, 60, 33, 0)}),
    *(
        Case("transvg_joint", {"n": n}, heads=h, inputs={"pad": padded(n, *lengths)})
        for n, lengths in ((9, (7,)), (63, (63,)), (64, (0,)), (65, (60, 1, 33)))
        for h in (1, 3)
    ),
    *(
        Case("yopo_neighbor", s, {"window": w, "prefix": p, "grid": g})
        for s in lines(1, 17, 31, 64, 65)
        for w, p, g in ((5, 3, 4), (4, 0, 5), (1, 9, 3), (3, 40, 8))
    ),
    *(
        Case(
            "isolation_attn",
            {"n": n, "reference": len(r)},
            inputs={"subject": [s], "reference_subject": [r]},
        )
        for n, s, r in (
            (9, [0, 1, 1, 0, 2, 2, 0, 3, 1], [1, 2, 0, 1]),
            (33, [0] * 11 + [1] * 11 + [2] * 11, documents(5, 9, 6)),
            (16, [0] * 16, [1]),
        )
    ),
    Case(
        "isolation_attn",
        {"n": 64, "reference": 17},
        heads=2,
        inputs={
            "subject": [documents(30, 20, 14), documents(10, 50, 4)],
            "reference_subject": [documents(3, 9, 5), documents(17)],
        },
    ),
    *(
        Case("region_cross", {"n": n, "t": len(words)}, heads=h, inputs={"fg": fg, "subject": [words]})
        for n, fg, words in (
            (9, padded(9, 4), [False, True, True, False]),
            (33, padded(33, 0), [True] * 3),
            (65, padded(65, 20), [False] * 17),
            (64, padded(64, 30), [i % 3 == 0 for i in range(77)]),
        )
        for h in (1, 2)
    ),
    *(
        Case("mixformer_asym", {"n": len(role)}, heads=h, inputs={"role": role})
        for role in ([1] * 4 + [2] * 4 + [0] * 9, [1] * 16 + [0] * 48, [0] * 5, [3, 0] * 30 + [1])
        for h in (1, 3)
    ),
    *(
        Case("agile_click", {"c": len(o), "p": len(labels)}, heads=h, inputs={"objects": [o], "labels": [labels]})
        for o, labels in (
            ([0, 1, 1, 2], [0, 1, 0, 3, 1]),
            ([1, 0], [-1] * 33),
            ([0, 1, 2, 5, 0], [i % 4 for i in range(65)]),
            (documents(9, 9, 15), documents(40, 20, 5)),
        )
        for h in (1, 2)
    ),
    *(
        Case("khop_groups", {"n": n}, {"hops": hops, "group": group}, heads, {"graph": graph})
        for n, graph in (
            (17, hop_distances(17, SKELETON).tolist()),
            (33, chain(33)),
            (9, chain(9, 1, 4)),
        )
        for hops, heads in ((1, 1), ([0, 1, 2, 9], 4))
        for group in ("ring", "within")
    ),
    *(
        Case("ditctrl_fgbg", {"n": n}, heads=h, inputs={"text": text, "ms": source, "mt": target})
        for n, text, source, target in (
            (8, [i < 3 for i in range(8)], padded(8, 5), padded(8, 6)),
            (9, [i < 3 for i in range(9)], padded(9, 6, 4), padded(9, 5, 9)),
            (33, [i < 5 for i in range(33)], padded(33, 0), padded(33, 20)),
            (65, [i % 9 == 0 for i in range(65)], padded(65, 30), padded(65, 40)),
        )
        for h in (1, 2)
    ),
    *(
        Case("dyvte", {"n": n}, heads=h, inputs={"image": image, "exited": out})
        for n, image, out in (
            (8, padded(8, 5), [True]),
            (9, padded(9, 5, 2), [True, False]),
            (33, [[4 <= i < 20 for i in range(33)]], [True]),
            (65, [[4 <= i < 40 for i in range(65)]], [False]),
        )
        for h in (1, 2)
    ),
)  # fmt: skip
