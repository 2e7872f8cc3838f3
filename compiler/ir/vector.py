"""Tensors of a program: feature vectors at tokens, and expressions over them.

    Vector = Tensor(name)              q, k, v, a pool or the result of an earlier step
           | Scalar(value)             a number for each token and head
           | Combine(op, left, right)  + - * /, feature by feature
           | Choose(condition, ...)    one of two for each token
           | Map(function, arguments)  a function of whole vectors (see FUNCTIONS)

Every vector lies in a :class:`Space`; a scalar takes part in any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnlang.compiler.ir.expr import Expr, Side


@dataclass(frozen=True, slots=True)
class Space:
    """Where the tokens of a tensor lie.

    side: whose lengths its axes have. whole: it is that side's own sequence, prefixes and all.
    heads: it has a vector for every query head (q) or every key head (k); None is a number of
    heads of its own.
    """

    axes: tuple[str, ...]
    side: Side
    whole: bool = False
    heads: Side | None = Side.Q

    def same_tokens(self, other: Space) -> bool:
        """May the two have the same tokens? Queries and keys of the same axes do where a call has
        as many of both, which is checked when it runs."""
        return (self.axes, self.whole) == (other.axes, other.whole)


def own_spaces(q_axes: tuple[str, ...], k_axes: tuple[str, ...]) -> dict[str, Space]:
    """The tensors of every call."""
    key = Space(k_axes, Side.K, True, Side.K)
    return {"q": Space(q_axes, Side.Q, True, Side.Q), "k": key, "v": key}


ONE = "1"
"""The axis of the one token that stands for the keys (queries) of a set of queries (keys) alone."""


def lone(side: Side) -> tuple[str, Space]:
    """That token of one side: a tensor's name and where it lies."""
    return f"{ONE}{side}", Space((ONE,), side, False, side)


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str


@dataclass(frozen=True, slots=True)
class Scalar:
    value: Expr


@dataclass(frozen=True, slots=True)
class Combine:
    op: Literal["+", "-", "*", "/"]
    left: Vector
    right: Vector


@dataclass(frozen=True, slots=True)
class Choose:
    condition: Expr
    then: Vector
    otherwise: Vector


@dataclass(frozen=True, slots=True)
class Map:
    function: str
    arguments: tuple[Vector, ...]


Vector: TypeAlias = Tensor | Scalar | Combine | Choose | Map

ELEMENTWISE = ("relu", "silu", "gelu", "elu", "exp", "tanh", "sigmoid", "abs", "sqrt", "cos", "sin")
"""Functions of every feature by itself."""
FEATURES = ("softmax", "normalize", "rms_norm")
"""Functions of one token's features: softmax over them, divided by their 2-norm or their root
mean square."""
JOINS = ("merge", "concat")
"""merge: one softmax over the keys of several attentions, from their log-sum-exps. concat: the
features of one behind those of the other."""
READOUTS = ("column_sum", "lse", "count", "column_count", "rank")
"""Numbers of an attention: for each key the weights that queries gave it, summed; for each query
the log-sum-exp; how many keys each query attends (or has in a set), how many queries each key;
the place of each token among all, sorted by a number.
Sums and counts have no gradient."""
OF_KEYS = ("column_sum", "column_count")
COUNTS = ("count", "column_count")
FUNCTIONS = (*ELEMENTWISE, *FEATURES, *JOINS)


def tensors(root: Vector) -> Iterator[str]:
    """The names of the tensors read."""
    match root:
        case Tensor(name=name):
            yield name
        case Scalar():
            pass
        case Combine(left=left, right=right) | Choose(then=left, otherwise=right):
            yield from tensors(left)
            yield from tensors(right)
        case Map(arguments=arguments):
            for argument in arguments:
                yield from tensors(argument)


def scalars(root: Vector) -> Iterator[Expr]:
    """The numbers and conditions beside the tensors."""
    match root:
        case Tensor():
            pass
        case Scalar(value=value):
            yield value
        case Combine(left=left, right=right):
            yield from scalars(left)
            yield from scalars(right)
        case Choose(condition=condition, then=then, otherwise=otherwise):
            yield condition
            yield from scalars(then)
            yield from scalars(otherwise)
        case Map(arguments=arguments):
            for argument in arguments:
                yield from scalars(argument)
