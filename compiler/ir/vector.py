"""Tensors of a program: feature vectors at tokens, and expressions over them.

    Vector = Tensor(name)              q, k, v, a pool or the result of an earlier step
           | Scalar(value)             a number for each token and head
           | Combine(op, left, right)  + - * /, feature by feature
           | Choose(condition, ...)    one of two for each token
           | Map(function, arguments)  a function of whole vectors (see FUNCTIONS)
           | Slice(operand, ...)       some of the features
           | Project(operand, table)   the features times a matrix

Every vector lies in a :class:`Space`; a scalar takes part in any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

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
    turned: Space | None = None
    """Whose features these tokens are: those of a tensor there."""


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


@dataclass(frozen=True, slots=True)
class Slice:
    """The features ``start <= i < stop``."""

    operand: Vector
    start: Expr
    stop: Expr


@dataclass(frozen=True, slots=True)
class Project:
    """The products of a token's features with every row of an input ``[..., rows, features]``.

    by_head: the input's first dimension is the head, of queries or of keys.
    """

    operand: Vector
    table: str
    by_head: bool


Vector: TypeAlias = Tensor | Scalar | Combine | Choose | Map | Slice | Project

ELEMENTWISE = (
    *("relu", "silu", "gelu", "elu", "exp", "tanh", "sigmoid", "softplus"),
    *("abs", "sqrt", "cos", "sin"),
)
"""Functions of every feature by itself."""
TOTAL = "total"
FEATURES = ("softmax", "normalize", "rms_norm", "layer_norm", TOTAL)
"""Functions of one token's features: softmax over them, divided by their 2-norm or their root
mean square, that after their mean is taken away, or their sum as one feature."""
JOINS = ("merge", "concat")
"""merge: one softmax over the keys of several attentions, from their log-sum-exps. concat: the
features of one behind those of the other."""
PIECES = ("slice", "project")
"""slice(x, a, b): the features a <= i < b. project(x, table): the features times a matrix."""
ROTATE = "rotate"
"""rotate(x, angle): each feature of the first half turns with one of the second."""
TURNS = ("channels", "tokens")
"""Tokens and features change places: features become the tokens of the axis `channel`, and back."""
ROW_SUM = "row_sum"
SUMS = ("column_sum", ROW_SUM)
READOUTS = (*SUMS, "lse", "count", "column_count", "rank")
"""Numbers of an attention: for each key the weights that queries gave it, summed; for each query
those it gave some of the keys, summed, and the log-sum-exp; how many keys each query attends (or
has in a set), how many queries each key; the place of each token among all, sorted by a number.
Sums over queries and counts have no gradient."""
OF_KEYS = ("column_sum", "column_count")
COUNTS = ("count", "column_count")
ONE_HOT = "one_hot"
"""one_hot(x): a feature for each token of x, 1 at its own: as values, an attention's weights."""
PINV = "pinv"
"""pinv(x): six steps towards the inverse of the matrix of a tensor's tokens and features."""
ACROSS_HEADS = ("join_heads", "split_heads")
"""join_heads(x): the features of all heads one behind the other, in every head. split_heads(x): of
these, each head its own share."""
GROUP_MEAN = "group_mean"
"""group_mean(x): the mean over the query heads of a key head, in each of them."""
FUNCTIONS = (*ELEMENTWISE, *FEATURES, *JOINS, ROTATE, ONE_HOT, PINV, *ACROSS_HEADS, GROUP_MEAN)
CHANNEL = "channel"
"""A feature, where a number beside a tensor varies with it; the axis of features as tokens."""


def is_number(root: Vector) -> bool:
    """Has it one feature, which later steps read as a number of its tokens?"""
    return isinstance(root, Map) and root.function in (*READOUTS, TOTAL)


def parts(root: Vector) -> Iterator[Vector]:
    """The vector and all that it is made of."""
    yield root
    match root:
        case Combine(left=left, right=right) | Choose(then=left, otherwise=right):
            yield from parts(left)
            yield from parts(right)
        case Map(arguments=arguments):
            for argument in arguments:
                yield from parts(argument)
        case Slice(operand=operand) | Project(operand=operand):
            yield from parts(operand)
        case Tensor() | Scalar():
            pass
        case _:
            assert_never(root)


def tensors(root: Vector) -> Iterator[str]:
    """The names of the tensors read."""
    return (x.name for x in parts(root) if isinstance(x, Tensor))


def scalars(root: Vector) -> Iterator[Expr]:
    """The numbers and conditions beside the tensors."""
    for x in parts(root):
        if isinstance(x, Scalar):
            yield x.value
        elif isinstance(x, Choose):
            yield x.condition


def projections(root: Vector) -> Iterator[Project]:
    """The products with tables."""
    return (x for x in parts(root) if isinstance(x, Project))
