"""Calls of the patterns of images, videos and poses."""

from __future__ import annotations

from typing import Any

from tests.stdlib.case import Case, images


def clips(*shapes: tuple[int, int]) -> list[dict[str, int]]:
    """Frames by sites of a frame."""
    return [{"t": t, "s": s} for t, s in shapes]


def videos(*shapes: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"t": t, "y": y, "x": x} for t, y, x in shapes]


def scales(*shapes: tuple[int, int]) -> tuple[dict[str, int], dict[str, list[Any]]]:
    """The length of a sequence of grids, and what its tokens carry."""
    tokens = [
        (number, y, x, height, width)
        for number, (height, width) in enumerate(shapes)
        for y in range(height)
        for x in range(width)
    ]
    names = ("level", "row", "column", "height", "width")
    columns = [list(column) for column in zip(*tokens, strict=True)]
    return {"n": len(tokens)}, dict(zip(names, columns, strict=True))


SKATE = (
    ({"t": 8, "v": 12}, {"block_t": 4, "grid_t": 2, "block_v": 4, "grid_v": 6}),
    ({"t": 6, "v": 9}, {"block_t": 3, "grid_t": 6, "block_v": 9, "grid_v": 3}),
    ({"t": 4, "v": 4}, {"block_t": 2, "grid_t": 2, "block_v": 2, "grid_v": 2}),
)
GROUPS = [0, 0, 2, 2, 2, 1, 0, -1, -1]
FLAGS = [[i in (1, 2, 5, 10) for i in range(11)], [False] * 11, [True] * 11]

GRIDS: list[Case] = [
    *(
        Case(name, s, {"axis": axis}, heads)
        for name in ("factorized_st", "divided_st_cls")
        for s in clips((3, 7), (9, 8), (1, 5), (6, 1))
        for axis in ("t", "s")
        for heads in (1, 2)
    ),
    *(
        Case("tesa", s, {"window_t": t, "window_y": y, "window_x": x, "shift": o})
        for s in videos((5, 4, 6), (4, 6, 3))
        for t, y, x, o in ((4, 2, 3, 0), (4, 2, 3, (2, 1, 1)), (2, 4, 4, 1), (9, 9, 9, 0))
    ),
    *(
        Case("swap_ca_3d", s, {"window_t": t, "window_y": y, "window_x": x})
        for s in videos((5, 4, 6), (4, 6, 3))
        for t, y, x in ((2, 2, 3), (4, 3, 4))
    ),
    *(
        Case("radial_token", s, {"sink": sink}, 2)
        for s in clips((17, 5), (9, 8), (12, 1), (5, 16), (18, 3))
        for sink in (True, False)
    ),
    *(
        Case("radial", {**s, "text": text}, {"gamma": g, "model": m, "block": b})
        for s, b in zip(
            clips((6, 10), (12, 8), (10, 6), (18, 4), (3, 21)), (4, 4, 4, 2, 9), strict=True
        )
        for g, text in ((1.0, 0), (0.2, 3))
        for m in ("wan", "hunyuan")
    ),
    *(Case("skateformer", s, p, h) for s, p in SKATE for h in (4, 8)),
    *(
        Case("dsta", {"t": t, "v": v}, {"branch": branch}, inputs={"group": GROUPS[:v]})
        for t, v in ((3, 9), (1, 7))
        for branch in ("spatial", "temporal")
    ),
    *(Case("paab", {"n": 11}, {}, h, {"pose": p}) for h in (1, 3) for p in ([FLAGS[0]], FLAGS)),
    *(
        Case("poly_window", s, {"window": w}, inputs={"anchor": anchor})
        for s in images((8, 12), (7, 9))
        for w in (3, 4, 16)
        for anchor in ([[0, 0]], [[2, 3]], [[1, 0], [0, 2], [2, 2]])
    ),
    *(
        Case(name, s, {"window": w}, 2)
        for name in ("davit_window", "gcvit_global")
        for s, w in zip(images((12, 8), (6, 9), (5, 5)), (4, 3, 5), strict=True)
    ),
    *(
        Case("msa_conv", s, {"kernel": k, "dilation": d})
        for s in images((9, 7), (4, 12), (1, 1))
        for k, d in ((3, 1), (7, 1), ((3, 5), 2), ((4, 2), 3), (1, 2))
    ),
    *(
        Case("local_corr_2d", s, {"radius": r}, 2)
        for s in images((5, 9), (7, 4))
        for r in (0, 1, 3, 9)
    ),
    *(
        Case("gna_extra", {**s, "extra": n}, {"window": w, "stride": o})
        for s in videos((4, 5, 6), (3, 4, 7))
        for w, o in ((3, 1), ((2, 3, 4), (1, 2, 4)))
        for n in (0, 5)
    ),
    *(
        Case("mvar", sizes, {"window": w}, inputs=inputs)
        for sizes, inputs in (scales((1, 1), (2, 2), (3, 5), (4, 4), (6, 5)), scales((4, 3)))
        for w in (1, 3, 4, 7)
    ),
]
