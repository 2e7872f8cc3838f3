"""Calls of the patterns whose blocks a table of the call chooses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.oracles.block_tables import best_blocks
from tests.stdlib.case import Case


def table(layers: int, rows: int, columns: int, sparsity: float) -> list[Any]:
    """The best blocks of random scores."""
    scores = np.random.default_rng(rows).random((layers, rows, columns))
    return best_blocks(scores.tolist(), sparsity).tolist()


def runs(*lengths: int) -> list[int]:
    """Every token's block, of blocks of these lengths."""
    return [block for block, n in enumerate(lengths) for _ in range(n)]


def layers(mode: str, heads: int) -> int:
    return 1 if mode == "shared" else heads


MODES = ("per_q_head", "per_kv_head", "shared")
BLOCKS = (
    *(
        Case(
            "lca_uniform_block_sparse",
            {"n": n},
            {"block": b, "mode": mode},
            2,
            {"blocks": table(layers(mode, 2), -(-n // b), -(-n // b), sparsity)},
        )
        for n, b, sparsity in ((1, 4, 0.5), (31, 4, 0.0), (64, 16, 0.5), (33, 8, 0.3), (20, 5, 1.0))
        for mode in MODES
    ),
    *(
        Case(
            "lca_variable_block_sparse",
            {"n": sum(rows)},
            {"rows": len(rows), "columns": len(columns), "mode": mode},
            2,
            {
                "row": runs(*rows),
                "column": runs(*columns),
                "blocks": table(layers(mode, 2), len(rows), len(columns), 0.4),
            },
        )
        for rows, columns in (
            ((9,), (4, 5)),
            ((7, 1, 12, 11), (15, 16)),
            ((16, 17, 32), (20, 3, 20, 1, 21)),
        )
        for mode in MODES
    ),
)
