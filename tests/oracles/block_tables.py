"""Masks of blocks that a table holds: the dynamic masks of the Long-Context Attention Benchmark."""

from collections.abc import Mapping, Sequence

import numpy as np

from tests.oracles.loops import Ints, Mask


def best_blocks(scores: Sequence[Sequence[Sequence[float]]], sparsity: float) -> Mask:
    """In every row of `scores` [layers, rows, columns] the `max(1, int(sparsity * columns))` best."""
    found = np.zeros(np.shape(scores), dtype=bool)
    for layer, rows in enumerate(scores):
        for row, drawn in enumerate(rows):
            count = max(1, int(sparsity * len(drawn)))
            ranked = sorted(range(len(drawn)), key=lambda c: -drawn[c])
            found[layer, row, ranked[:count]] = True
    return found


def lca_uniform_block_sparse(
    sizes: Mapping[str, int], heads: int = 1, *, block: int, mode: str, blocks: Mask
) -> Mask:
    """Blocks of `block` tokens; `blocks` is bool [layers, rows, columns], a layer for each head or
    one for all. Not causal."""
    of = np.arange(sizes["n"]) // block
    return _drawn(of, of, heads, mode, blocks)


def lca_variable_block_sparse(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    rows: int,
    columns: int,
    mode: str,
    row: Ints,
    column: Ints,
    blocks: Mask,
) -> Mask:
    """Blocks of any sizes: `row` and `column` say which one a query and a key lie in."""
    assert blocks.shape[1:] == (rows, columns)
    return _drawn(row, column, heads, mode, blocks)


def _drawn(row: Ints, column: Ints, heads: int, mode: str, blocks: Mask) -> Mask:
    mask = np.zeros((heads, len(row), len(column)), dtype=bool)
    for head in range(heads):  # of as many key heads
        for i in range(len(row)):
            for j in range(len(column)):
                mask[head, i, j] = blocks[0 if mode == "shared" else head, row[i], column[j]]
    return mask
