"""What the definitions of composed attentions share: one call, a softmax, vectors as rows."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """One call: q ``[B, H, Nq, D]``, k ``[B, Hkv, Nk, D]``, v ``[B, Hkv, Nk, Dv]``."""

    q: Floats
    k: Floats
    v: Floats
    sizes: Mapping[str, int]
    params: Mapping[str, Any]
    inputs: Mapping[str, npt.NDArray[Any]]

    @property
    def scale(self) -> float:
        return 1.0 / math.sqrt(self.q.shape[3])

    def key_head(self, head: int) -> int:
        return head // (self.q.shape[1] // self.k.shape[1])

    def sequence(self, row: int, head: int) -> tuple[Floats, Floats, Floats]:
        """Queries, keys and values ``[N, D]`` of one sequence and query head."""
        at = self.key_head(head)
        return self.q[row, head], self.k[row, at], self.v[row, at]

    def rows(self) -> Iterable[tuple[int, int]]:
        """Every sequence of the batch and query head."""
        return np.ndindex(self.q.shape[0], self.q.shape[1])


Oracle = Callable[[Call], Floats]


def softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    raised = [math.exp(s - top) for s in scores]
    total = sum(raised)
    return [x / total for x in raised]


def weighted(weights: Iterable[float], values: Iterable[Floats]) -> Floats:
    """The weighted sum of vectors."""
    return np.sum([w * x for w, x in zip(weights, values, strict=True)], axis=0)


def attended(query: Floats, keys: Sequence[Floats], values: Sequence[Floats], s: float) -> Floats:
    """One query's softmax attention with scale ``s``."""
    return weighted(softmax([s * float(query @ key) for key in keys]), values)


def mean(rows: Sequence[Floats]) -> Floats:
    return np.sum(rows, axis=0) / len(rows)


def largest(rows: Sequence[Floats]) -> Floats:
    """The largest value of each feature."""
    return np.array([max(float(row[d]) for row in rows) for d in range(len(rows[0]))])


def rms_normed(x: Floats) -> Floats:
    """Divided by the root of its mean square, to which 1e-6 is added."""
    return x / math.sqrt(sum(float(a) ** 2 for a in x) / len(x) + 1e-6)
