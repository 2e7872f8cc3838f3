"""The two loops that turn a predicate into a mask, and the token order of a grid."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]


def pairs(n: int, rule: Callable[[int, int], bool]) -> Mask:
    """The same mask in every head: bool [1, n, n] with rule(query, key)."""
    return pairs_by_head(n, 1, lambda _, i, j: rule(i, j))


def pairs_by_head(n: int, heads: int, rule: Callable[[int, int, int], bool]) -> Mask:
    """One mask a head: bool [heads, n, n] with rule(head, query, key)."""
    mask = np.zeros((heads, n, n), dtype=np.bool_)
    for h in range(heads):
        for i in range(n):
            for j in range(n):
                mask[h, i, j] = rule(h, i, j)
    return mask


def pairs_by_batch(n: int, table: Ints, rule: Callable[[Ints, int, int], bool]) -> Mask:
    """One mask a batch row of an input [batch, n]: bool [batch, 1, n, n], rule(row, query, key)."""
    if table.ndim != 2 or table.shape[1] != n:
        raise ValueError(f"input has shape {table.shape}, expected [batch, {n}]")
    mask = np.zeros((len(table), 1, n, n), dtype=np.bool_)
    for b in range(len(table)):
        for i in range(n):
            for j in range(n):
                mask[b, 0, i, j] = rule(table[b], i, j)
    return mask


def between(n_q: int, n_k: int, rule: Callable[[int, int], bool]) -> Mask:
    """Queries and keys of different lengths: bool [1, n_q, n_k] with rule(query, key)."""
    mask = np.zeros((1, n_q, n_k), dtype=np.bool_)
    for i in range(n_q):
        for j in range(n_k):
            mask[0, i, j] = rule(i, j)
    return mask


def between_by_batch(batch: int, n_q: int, n_k: int, rule: Callable[[int, int, int], bool]) -> Mask:
    """One such mask a batch row: bool [batch, 1, n_q, n_k] with rule(row, query, key)."""
    rows = [between(n_q, n_k, lambda i, j, b=b: rule(b, i, j)) for b in range(batch)]  # type: ignore[misc]
    return np.stack(rows)


def coordinates(sizes: Mapping[str, int], axes: Sequence[str]) -> list[tuple[int, ...]]:
    """The coordinates of every token, row-major: the last axis runs fastest."""
    return list(product(*(range(sizes[axis]) for axis in axes)))


def keys(drawn: Mask, query: int, head: int = 0) -> list[int]:
    """The keys that a query sees, in order."""
    return [j for j in range(drawn.shape[2]) if drawn[head, query, j]]


def same(one: Mask, other: Mask) -> bool:
    """The same shape and the same pairs."""
    return one.shape == other.shape and bool(np.array_equal(one, other))
