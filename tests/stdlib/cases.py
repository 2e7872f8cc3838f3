"""The calls at which each standard pattern is compared with its oracle."""

from __future__ import annotations

import numpy as np

import attnlang
from tests.stdlib.case import EDGES, PACKED, Case, images, lines
from tests.stdlib.cases_of_blocks import BLOCKS
from tests.stdlib.cases_of_grids import GRIDS
from tests.stdlib.cases_of_roles import ROLES
from tests.stdlib.cases_of_spans import SPANS

__all__ = ["CASES", "Case", "smallest"]

ALL: list[Case] = [
    *(Case("causal", s, heads=h) for s in EDGES for h in (1, 3)),
    *(Case("full", s) for s in EDGES),
    *(Case("alibi", s, heads=h) for s in lines(1, 33) for h in (1, 12)),
    *(Case("softcap", s, {"cap": 3.0}) for s in lines(1, 33)),
    *(Case("sink_logit", s, heads=2, inputs={"sink": [0.5, -1.0]}) for s in lines(1, 33)),
    *(
        Case("sliding_window", s, {"window": w, "sinks": k})
        for s in EDGES
        for w in (1, 16, 64, 99)
        for k in (0, 3)
    ),
    *(Case("based_swa", s, {"window": w}) for s in EDGES for w in (0, 1, 16, 31, 128)),
    *(
        Case("streaming_sink", s, {"window": w, "sinks": k})
        for s in EDGES
        for w in (1, 16)
        for k in (0, 4, 70)
    ),
    *(
        Case("longlora_s2", {"n": n}, {"group_ratio": g, "edge": edge}, heads)
        for n, g in ((16, 4), (4, 4), (18, 4), (64, 2), (30, 1), (65, 5))
        for edge in ("truncate", "wrap")
        for heads in (1, 2, 5)
    ),
    *(
        Case(
            "s2_local_stride",
            {"n": n},
            {"block": b, "local_blocks": 2, "vert_stride": v, "dense_heads": d, "causal": c},
            h,
        )
        for n, b in ((33, 4), (64, 8))
        for v in (1, 3, 8)
        for d, h in ((0, 1), (1, 3), (2, 2))
        for c in (True, False)
    ),
    *(Case("lca_causal_document", {"n": 32}, heads=2, inputs={"doc": [doc]}) for doc in PACKED),
    Case("lca_causal_document", {"n": 32}, inputs={"doc": list(PACKED)}),
    *(Case(name, s) for name in ("lca_full", "lca_causal") for s in lines(1, 33)),
    *(Case("lca_share_question", {"n": 32}, inputs={"doc": [doc]}) for doc in PACKED),
    *(Case("lca_full_document", {"n": 32}, inputs={"doc": [doc]}) for doc in PACKED),
    *(
        Case("lca_block_causal_document", {"n": 32}, {"block": b}, inputs={"doc": [doc]})
        for doc in PACKED
        for b in (1, 8, 50)
    ),
    *(
        Case(name, s, {"window": w})
        for name in ("lca_sliding_window", "lca_sliding_window_causal", "lca_global_sliding_window")
        for s in lines(1, 31, 64)
        for w in (0, 1, 10, 80)
    ),
    *(Case("lca_prefix_lm_causal", s, {"prefix": p}) for s in lines(1, 33) for p in (0, 7, 50)),
    *(
        Case("neighborhood_1d", {"n": n}, {"window": w, "stride": s, "dilation": d, "causal": c})
        for n, w, s, d in (
            (1, 1, 1, 1),
            (10, 4, 4, 1),
            (17, 5, 2, 3),
            (31, 6, 3, 2),
            (33, 33, 1, 1),
            (23, 2, 2, 8),
            (20, 4, 3, 5),
        )
        for c in (False, True)
    ),
    *(
        Case("neighborhood_2d", s, {"window": w, "stride": st, "dilation": d, "causal": c})
        for s in images((12, 10), (9, 13), (6, 6))
        for w, st, d, c in (
            (5, 1, 1, False),
            (6, 1, 1, False),
            ((4, 3), (2, 3), (1, 2), False),
            ((3, 5), 1, (2, 1), (True, False)),
        )
    ),
    *(
        Case(
            "neighborhood_3d",
            {"t": 4, "y": 5, "x": 6},
            {"window": w, "stride": s, "dilation": d, "causal": c},
        )
        for w, s, d, c in (
            (3, 1, 1, False),
            ((2, 3, 3), (1, 2, 2), (2, 1, 2), (True, False, False)),
            ((4, 5, 6), 1, 1, False),
        )
    ),
    *(
        Case("swin_window", s, {"window": w, "shift": o})
        for s in images((12, 10), (7, 9))
        for w in (3, 4, 16)
        for o in (0, 1, 2)
    ),
    *(Case("maxvit_block", s, {"window": w}) for s in images((12, 8), (7, 9)) for w in (2, 4)),
    *(Case("maxvit_grid", s, {"grid": g}) for s in images((12, 8), (4, 16)) for g in (2, 4)),
    *(
        Case("halo_2d", s, {"block": b, "halo": r, "edge": e})
        for s in images((12, 8), (7, 9))
        for b, r in ((4, 1), (3, 2), (2, 0))
        for e in ("truncate", "zero")
    ),
    *BLOCKS,
    *SPANS,
    *ROLES,
    *GRIDS,
]
CASES = [case for case in ALL if case.name in attnlang.stdlib.names()]


def smallest(name: str) -> Case:
    """A case of few tokens and two or more heads, for tests that are cubic in time."""
    mine = [
        case for case in CASES if case.name == name and int(np.prod([*case.sizes.values()])) >= 8
    ]
    found = min(mine, key=lambda case: int(np.prod([*case.sizes.values()])))
    return Case(found.name, found.sizes, found.params, max(found.heads, 2), found.inputs)
