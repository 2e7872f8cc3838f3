"""Programs: several attentions with the pools, selections and sums between them.

A program is a list of steps in order. Every attention of it is a whole :class:`PatternIR` over
the axes of its own queries and keys, so that analysis, plans and backends meet nothing new: sets
that a ``select`` fills are run-time tables to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from attnlang.compiler.ir.expr import Expr, Side, Symbol, TokenInput
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import Space, Vector
from attnlang.compiler.source import NOWHERE, Span

if TYPE_CHECKING:
    from attnlang.compiler.ir.pattern import PatternIR


@dataclass(frozen=True, slots=True)
class Part:
    """An axis whose tokens are runs of another axis.

    axis: the axis that is cut, or "index" for all axes as one line. Token b of it covers the
    positions ``b * stride <= x < b * stride + size``. whole: only runs that fit are there
    (``windows``); otherwise the last may be short (``blocks``, whose stride is their size).
    An ``axis`` of "" is none: ``range`` makes an axis of its own with ``size`` tokens.
    """

    name: str
    axis: str
    size: Expr
    stride: Expr
    whole: bool
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    @property
    def own(self) -> bool:
        """Is it an axis of its own, not cut from another?"""
        return not self.axis


class Reduction(StrEnum):
    MEAN = "mean"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    FIRST = "first"
    LAST = "last"
    TAKE = "take"
    PUT = "put"


@dataclass(frozen=True, slots=True)
class Pool:
    """One vector for each token of ``space``: the tokens it covers, reduced.

    divide: what a mean divides by, the ``tokens`` that are there or the ``size`` of a full run.
    where: which tokens (k) of the source each token (q) of the space is of, if its axes do not say.
    chosen: the set whose members are taken to slots, or put back.
    """

    name: str
    source: str
    space: Space
    reduction: Reduction
    divide: Literal["tokens", "size"] = "tokens"
    where: PatternIR | None = None
    chosen: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """Every query (key) times every vector of a table, made before the attention.

    by_head: the table's first dimension is the head. A table by name:
    ``[B, heads, tokens, dimensions of the table but the head and the last]``.
    """

    name: str
    side: Side
    table: str
    by_head: bool


@dataclass(frozen=True, slots=True)
class PairProduct:
    """A function of query and key, feature by feature, times one vector of a table.

    function: elementwise, of ``q op k``; "" for none. by_head: the table is ``[(B,) H, D]``, else
    ``[(B,) D]``. A table by name: ``[B, heads, queries, keys]``.
    """

    name: str
    function: str
    op: Literal["+", "-", "*"]
    table: str
    by_head: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """Attention of heads ``start <= head < stop`` (None: all), by a pattern of its own.

    keys and values: one tensor, or several that stand one behind the other. products: tables
    that its scores read.
    """

    query: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    pattern: PatternIR
    start: Expr | None = None
    stop: Expr | None = None
    products: tuple[Product | PairProduct, ...] = ()


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Linear attention: the weight of a key is its score times the decays between it and the query.

    Per token ``S = exp(decay) S + k v^T`` and ``out = scale q^T S``; with ``delta`` b the write is
    ``b k (v - k^T S)^T``. pattern: what its clauses say, as of any attention. segments: the input
    by which documents are told apart. decay, delta: over one token (q), head and channel (k).
    logit: of a token and head; the weights are then a softmax of it over the past, whatever q.
    """

    query: str
    key: str
    value: str
    pattern: PatternIR
    causal: bool
    segments: str | None
    decay: Expr | None
    delta: Expr | None
    logit: Expr | None = None
    start: Expr | None = None
    stop: Expr | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention; branches with heads of their own stand side by side."""

    name: str
    branches: tuple[Branch | Recurrence, ...]
    space: Space


@dataclass(frozen=True, slots=True)
class Assign:
    """A tensor made of others."""

    name: str
    value: Vector
    space: Space


@dataclass(frozen=True, slots=True)
class Turn:
    """A tensor whose tokens and features change places. made: where ``value`` lies."""

    name: str
    value: Vector
    made: Space
    space: Space


class Share(StrEnum):
    """How several scores become one."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"


class Ties(StrEnum):
    """Of scores equal to the last that is chosen, the first keys are chosen or all."""

    FIRST = "first"
    ALL = "all"


class Search(StrEnum):
    """All candidates are scored, or their runs are halved again and again, by the first candidate
    of a run or by the one in its middle."""

    ALL = "all"
    HALVING = "halving"
    CENTRES = "centres"


class Normalise(StrEnum):
    """What is done to the scores of the candidates before the rule."""

    NONE = "none"
    SOFTMAX = "softmax"
    MINMAX = "minmax"


class Weigh(StrEnum):
    """What is done to the scores of the members of each choice, as weights: nothing, divided by
    their sum, or a softmax of them."""

    NONE = "none"
    SUM = "sum"
    SOFTMAX = "softmax"


class Gradient(StrEnum):
    """What a set gives its scores. stop: nothing. scores: the weights of its members are their
    scores. straight_through: they are 1, with the slope of the scores (Bengio et al. 2013)."""

    STOP = "stop"
    SCORES = "scores"
    STRAIGHT_THROUGH = "straight_through"


@dataclass(frozen=True, slots=True)
class SizeOf:
    """As many as an earlier set of the same dimensions has: in this choice, or in its largest."""

    name: str
    largest: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """How many are chosen.

    top: the ``amount`` best. above: all with a score above ``amount``. mass: the best whose scores
    make up the fraction ``amount`` of all. per: the dimensions of the set, counted from 0, each
    choice is made for; a choice never goes beyond one element of the batch.
    """

    kind: Literal["top", "above", "mass"]
    amount: Expr | SizeOf
    per: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gather:
    """The score of a run is the largest (sum, mean) score of the keys that belong to it.

    pattern: its ``where`` says which keys (k) belong to which run (q), its score what their
    scores are multiplied with.
    """

    rule: Share
    pattern: PatternIR


@dataclass(frozen=True, slots=True)
class Select:
    """A set: for every query of one tensor, some keys of another.

    dims: of the table, ``head`` or ``kv_head`` (or neither), then the axes of queries and keys.
    pattern: its ``where`` are the candidates, its score the score. force: its ``where`` are the
    pairs that are chosen whatever their score, counted first. gather: how scores of keys become
    scores of what is chosen, where dims name other axes than the keys'. rows: the same for queries.
    A set of keys alone has one query, and the axis ``ONE`` in its dims, which its table lacks.
    weigh, gradient: of the weights that go with it, unless the gradient stops.
    """

    name: str
    query: str
    key: str
    pattern: PatternIR
    dims: tuple[str, ...]
    rule: Rule
    force: PatternIR | None
    share: Share
    normalise: Normalise
    gather: Gather | None
    ties: Ties = Ties.FIRST
    search: Search = Search.ALL
    rows: Gather | None = None
    weigh: Weigh = Weigh.NONE
    gradient: Gradient = Gradient.STOP
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    @property
    def by_head(self) -> bool:
        """Is the set's first dimension one of heads?"""
        return self.dims[0] in SET_HEADS


def weights_of(name: str) -> str:
    """The table of the weights of a set; no name that a pattern can write."""
    return f"{name}.weight"


SET_HEADS = ("head", "kv_head")
"""The dimensions of sets that are no axes."""

Step: TypeAlias = Pool | Assign | Turn | Attention | Select
Owner: TypeAlias = Branch | Recurrence | Select
"""What has a pattern of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """parts: in order, a part may cut an earlier one. result: what each query gets. given: the
    inputs that are tensors, and where their vectors lie. told: the attentions that nothing but sums
    and counts of their weights is read of: they need not run themselves."""

    parts: tuple[Part, ...]
    steps: tuple[Step, ...]
    result: Vector
    given: tuple[tuple[str, Space], ...] = ()
    told: frozenset[str] = frozenset()

    @property
    def owners(self) -> tuple[tuple[str, PatternIR, Owner], ...]:
        """Every attention and selection: its name, its pattern, and what the program says of it."""
        return tuple(_owners(self.steps))

    @property
    def patterns(self) -> tuple[tuple[str, PatternIR], ...]:
        """The attention of every step under a name of its own."""
        return tuple((name, pattern) for name, pattern, _ in self.owners)


def attentions(program: Program) -> Iterator[PatternIR]:
    """The patterns of the softmax attentions: selections have no rows to be empty."""
    for step in program.steps:
        if isinstance(step, Attention):
            yield from (b.pattern for b in step.branches if isinstance(b, Branch))


def recurrences(program: Program) -> Iterator[Recurrence]:
    """Every linear attention of a program."""
    for step in program.steps:
        if isinstance(step, Attention):
            yield from (b for b in step.branches if isinstance(b, Recurrence))


def condition_by_head(pattern: PatternIR) -> bool:
    """May which pairs attend differ between heads?"""
    by_head = {i.name for i in pattern.inputs if "head" in i.dims}
    return any(
        isinstance(x, Symbol) or (isinstance(x, TokenInput) and x.name in by_head)
        for group in pattern.groups
        for x in walk(group.attend.where)
    )


def owner_of(pattern: PatternIR) -> Owner | None:
    """What the program says of a step's pattern; None for a pattern that is no step."""
    if pattern.outer is None or pattern.outer.program is None:
        return None
    name = pattern.name.partition(".")[2]
    return next(owner for n, _, owner in pattern.outer.program.owners if n == name)


def _owners(steps: tuple[Step, ...]) -> Iterator[tuple[str, PatternIR, Owner]]:
    for step in steps:
        owned = step.branches if isinstance(step, Attention) else (step,)
        for owner in owned:
            if isinstance(owner, Branch | Recurrence | Select):
                yield owner.pattern.name.partition(".")[2], owner.pattern, owner
