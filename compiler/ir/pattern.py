"""The checked pattern: declarations, requirements, and one attention per group of heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from attnlang.compiler.ir.expr import GRID, Expr, Kind, Side
from attnlang.compiler.source import NOWHERE, Span

if TYPE_CHECKING:
    from attnlang.compiler.ir.program import Program

Scalar: TypeAlias = int | float | bool
ParameterValue: TypeAlias = "Scalar | str | tuple[Scalar, ...]"
"""A number, an enumeration's choice, or one number per axis or per head."""


Fidelity: TypeAlias = Literal["verified", "interpretation"]


class EmptyRule(StrEnum):
    """What a query with no key to attend gives.

    ZERO: output 0, lse -inf. SELF: attends itself alone. FULL: attends every key.
    PASSTHROUGH: the output is the query vector, lse -inf.
    """

    ZERO = "zero"
    SELF = "self"
    FULL = "full"
    PASSTHROUGH = "passthrough"


class Normaliser(StrEnum):
    """How edited scores become weights of the values.

    SOFTMAX: exp(score) over their sum and the sink. The others take the score itself: SUM divides
    by the scores' sum, COUNT by the number of attended keys, NONE by nothing. A row whose divisor
    is 0 gives 0.
    """

    SOFTMAX = "softmax"
    SUM = "sum"
    COUNT = "count"
    NONE = "none"


class Per(StrEnum):
    """What a parameter has one value for."""

    ONE = "one"
    AXIS = "axis"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class ParameterDecl:
    """``kind`` None: an enumeration, whose choices are in ``choices``."""

    name: str
    kind: Kind | None
    per: Per
    choices: tuple[str, ...]
    default: ParameterValue | None
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    @property
    def type_name(self) -> str:
        if self.kind is None:
            return " | ".join(self.choices)
        return str(self.kind) if self.per is Per.ONE else f"{self.kind}[{self.per}]"


@dataclass(frozen=True, slots=True)
class InputDecl:
    """A run-time tensor. ``dims``: "batch", "head", an axis name, or a size expression.

    ``sides``: the sides on which it is a token attribute (its axis dims are all of that side's).
    """

    name: str
    kind: Kind
    dims: tuple[str | Expr, ...]
    sides: tuple[Side, ...]
    sorted: bool
    optional: bool
    nonpositive: bool = False
    """No value is above 0: the logarithm of a decay."""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens of one side: the grid, or named tokens before or after it.

    ``size`` None: given at run time under the segment's name.
    """

    name: str
    place: Literal["prefix", "grid", "suffix"]
    size: Expr | None = None
    sides: tuple[Side, ...] = (Side.Q, Side.K)

    @property
    def is_grid(self) -> bool:
        return self.name == GRID


@dataclass(frozen=True, slots=True)
class Requirement:
    condition: Expr
    message: str | None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attend:
    """One attention.

    where: bool over the pair. score: float over the pair and the scaled score ``s``; None is ``s``.
    scale: factor of q.k; None is head_dim ** -0.5. sink: float over the query whose exponential
    joins the denominator alone; None is no sink. empty: the rule for rows with no key. gain: float
    over the pair that multiplies the weight at last; None is 1.
    """

    where: Expr
    score: Expr | None = None
    scale: Expr | None = None
    sink: Expr | None = None
    empty: EmptyRule | None = None
    normaliser: Normaliser = Normaliser.SOFTMAX
    gain: Expr | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """The attention of heads ``start <= head < stop`` (both over ``heads`` and parameters)."""

    start: Expr
    stop: Expr
    attend: Attend


def map_clauses(group: HeadGroup, change: Callable[[Expr], Expr]) -> HeadGroup:
    """The group with every clause of its attention changed."""

    def changed(x: Expr | None) -> Expr | None:
        return None if x is None else change(x)

    a = group.attend
    made = replace(
        a,
        where=change(a.where),
        score=changed(a.score),
        scale=changed(a.scale),
        sink=changed(a.sink),
        gain=changed(a.gain),
    )
    return replace(group, attend=made)


@dataclass(frozen=True, slots=True)
class Meta:
    """Where a pattern comes from, and how sure we are that it is that paper's."""

    doc: str = ""
    paper: str | None = None
    year: int | None = None
    arxiv: str | None = None
    fidelity: Fidelity | None = None


@dataclass(frozen=True, eq=False)
class PatternIR:
    """A whole checked pattern with its parameters' values. Compared by identity: see its hash."""

    name: str
    parameters: tuple[ParameterDecl, ...]
    values: tuple[tuple[str, ParameterValue], ...]
    q_axes: tuple[str, ...]
    k_axes: tuple[str, ...]
    segments: tuple[Segment, ...]
    inputs: tuple[InputDecl, ...]
    requirements: tuple[Requirement, ...]
    groups: tuple[HeadGroup, ...]
    meta: Meta = field(default=Meta(), compare=False)
    program: Program | None = None
    """Several steps instead of one attention: then there are no groups here."""
    outer: PatternIR | None = None
    """The program that this is a step of, where it was asked for by name."""

    @property
    def self_attention(self) -> bool:
        """Queries and keys are tokens of the same axes."""
        return self.q_axes == self.k_axes

    def axes(self, side: Side) -> tuple[str, ...]:
        return self.q_axes if side is Side.Q else self.k_axes

    def segments_of(self, side: Side) -> tuple[Segment, ...]:
        """The segments of one side in token order: prefixes, the grid, suffixes."""
        return tuple(s for s in self.segments if side in s.sides)

    def input(self, name: str) -> InputDecl:
        return next(i for i in self.inputs if i.name == name)

    def parameter(self, name: str) -> ParameterDecl:
        return next(p for p in self.parameters if p.name == name)
