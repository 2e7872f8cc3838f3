"""What the statements of one pattern have said so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from attnlang.compiler.diagnostics.model import Label
from attnlang.compiler.ir.expr import GRID, Side
from attnlang.compiler.ir.pattern import (
    HeadGroup,
    InputDecl,
    Meta,
    ParameterDecl,
    ParameterValue,
    Requirement,
    Segment,
)
from attnlang.compiler.ir.program import Branch, PairProduct, Part, Product, Recurrence, Step
from attnlang.compiler.ir.vector import Space, Vector
from attnlang.compiler.sema.scope import RESERVED, Context, ValueName
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t


@dataclass(slots=True)
class Draft:
    """What the statements of one pattern have said so far."""

    pattern: t.Pattern
    ctx: Context
    axes: dict[Side, tuple[str, ...]] = field(default_factory=dict)
    prefixes: list[Segment] = field(default_factory=list)
    suffixes: list[Segment] = field(default_factory=list)
    inputs: list[InputDecl] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    groups: list[HeadGroup] = field(default_factory=list)
    attended: Span | None = None
    grouped: bool = False
    """The ``attend``s found so far stand in groups of heads."""
    meta: Meta = field(default_factory=Meta)
    defined: dict[str, Span] = field(default_factory=dict)
    declared: tuple[ParameterDecl, ...] = ()
    values: tuple[tuple[str, ParameterValue], ...] = ()
    pattern_axes: tuple[str, ...] = ()
    """The axes that a parameter's values per axis are for."""
    copies: dict[str, str] = field(default_factory=dict)
    """Inside a ``for``: what is defined there, and the names of this copy of it."""
    lost: set[str] = field(default_factory=set)
    """Defined in a ``for`` with a mistake: reading a copy of it is none."""
    # What the statements of a program have said:
    parts: dict[str, Part] = field(default_factory=dict)
    spaces: dict[str, Space] = field(default_factory=dict)
    """Inputs that are tensors with tokens of their own."""
    sets: dict[str, InputDecl] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    branches: list[Branch | Recurrence] = field(default_factory=list)
    """Attentions of groups of heads, side by side."""
    products: dict[str, Product | PairProduct] | None = None
    """Of the attention being read: tables of queries times learned vectors."""
    numbers: list[InputDecl] = field(default_factory=list)
    """Tensors of one feature: later steps read them as numbers of their tokens."""
    result: Vector | None = None
    returned: Span | None = None
    given: dict[str, Space] = field(default_factory=dict)
    """Inputs that are tensors."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        return (*self.prefixes, Segment(GRID, "grid"), *self.suffixes)

    @property
    def input_names(self) -> frozenset[str]:
        return frozenset(i.name for i in self.inputs)

    def is_whole(self, axes: tuple[str, ...], side: Side) -> bool:
        """Are tokens on these axes all that the side has?"""
        here = [s for s in self.segments if side in s.sides]
        return axes == self.axes[side] and len(here) == 1

    def same_tokens(self, a: Space, b: Space) -> bool:
        """May the two have the same tokens? Queries and keys of the same axes do where a call has
        as many of both, which is checked when it runs."""
        turned = (a.turned is None) == (b.turned is None)
        return a.axes == b.axes and turned and (a.whole == b.whole or len(self.segments) == 1)

    def table(self, name: str) -> InputDecl:
        """The declaration of an input."""
        return next(i for i in self.inputs if i.name == name)

    def define(self, name: t.Name) -> bool:
        """Claim a name for this pattern; AL102 or AL108 if it is taken or reserved."""
        if name.id in RESERVED:
            self.ctx.error("AL108", name.span, "choose another name", name=name.id)
            return False
        first = self.defined.get(name.id)
        if first is not None:
            self.ctx.error(
                "AL102",
                name.span,
                "defined again",
                name=name.id,
                secondary=(Label(first, "first defined here"),),
            )
            return False
        self.defined[name.id] = name.span
        return True

    def fail(self, name: t.Name) -> None:
        """Claim the name of what has a mistake: reading it is none."""
        if self.define(name):
            self.ctx = self.ctx.with_names(**{name.id: ValueName(None)})

    def failed(self, name: str) -> bool:
        """Does the name stand for something with a mistake, which is reported already?"""
        return self.ctx.names.get(name) == ValueName(None)
