"""The syntax tree: what was written, with spans. Nothing is resolved here.

Expression  = Number | Name | Attribute | Subscript | Call | Negative | Not | Binary
            | Compare | Boolean | Member | Conditional | Tuple
Statement   = Over | Extra | Input | Require | Let | Heads | Attend | Paper | Fidelity
            | Part | Pool | Select | Assign | Result | Repeat
Declaration = Function | Pattern
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

from attnlang.compiler.source import NOWHERE, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number(Node):
    value: int | float


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A name. copy: of what a ``for`` repeats, which copy: ``near@level``."""

    id: str
    copy: Expression | None = None


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """``base.name``: a coordinate or token input, ``q.y`` or ``k.doc``."""

    base: Expression
    name: Name


@dataclass(frozen=True, slots=True)
class Subscript(Node):
    """``base[i, j]``: a table read."""

    base: Expression
    indices: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Call(Node):
    function: Name
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Negative(Node):
    operand: Expression


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Node):
    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """``a < b <= c``: true when every neighbouring pair is."""

    operands: tuple[Expression, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    op: Literal["and", "or"]
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``q in cls``: the token is one of a prefix, a suffix or the grid."""

    element: Expression
    collection: Name


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    items: tuple[Expression, ...]


Expression: TypeAlias = (
    Number
    | Name
    | Attribute
    | Subscript
    | Call
    | Negative
    | Not
    | Binary
    | Compare
    | Boolean
    | Member
    | Conditional
    | Tuple
)


@dataclass(frozen=True, slots=True)
class TypeName(Node):
    """``int``, ``float[head, 3]``, or the choices of an enumeration ``a | b``."""

    names: tuple[Name, ...]
    dims: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    name: Name
    type: TypeName
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Over(Node):
    """``over y, x``; ``over q: y, x`` and ``over k: n`` give the two sides their own axes."""

    side: Name | None
    axes: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Extra(Node):
    """Tokens before or after the grid: ``prefix cls: 1``, ``suffix text on k``."""

    place: Literal["prefix", "suffix"]
    name: Name
    size: Expression | None
    side: Name | None


@dataclass(frozen=True, slots=True)
class Input(Node):
    name: Name
    type: TypeName
    flags: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Require(Node):
    condition: Expression
    message: str | None


@dataclass(frozen=True, slots=True)
class Let(Node):
    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Option(Node):
    """A clause with a value: of an ``attend`` (score to delta) or a ``select`` (top to force).

    per: the dimensions each choice is made for, ``top 4 per head``. when: a condition on choices;
    where it does not hold, the clause is not there. Rules and gathers have one too.
    """

    kind: Literal[
        "score", "softcap", "scale", "sink", "gain", "decay", "delta",
        "top", "above", "mass", "force",
    ]  # fmt: skip
    value: Expression
    per: tuple[Name, ...] = ()
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """A clause that names one of a few rules: ``empty zero``, ``normalise sum``.

    The rule is a name; that of ``normalise`` may be chosen, ``sum if kind == a else none``.
    """

    kind: Literal["empty", "normalise", "share", "ties", "search", "weigh", "gradient"]
    rule: Expression
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Gather(Node):
    """``gather max where ...``: scores of runs of keys from the scores of keys; ``gather rows max``
    does so for queries."""

    rule: Name
    weight: Expression | None
    where: Expression
    rows: bool = False
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Attend(Node):
    """``attend where ...``, or with other tensors than q, k and v: ``attend q, kb, vb where``."""

    where: Expression
    options: tuple[Option | Rule, ...]
    sources: tuple[Expression, ...] = ()
    linear: bool = False


@dataclass(frozen=True, slots=True)
class Part(Node):
    """``part b = blocks(n, 64)``: an axis whose tokens are blocks of another's."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Pool(Node):
    """``pool kb[b] = mean(k)``: one vector for each token of the axes.

    where: which tokens each is of.
    """

    name: Name
    axes: tuple[Name, ...]
    value: Expression
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Select(Node):
    """``select chosen[head, n, b] from q, kb where ...``: a set, and the rule that fills it."""

    name: Name
    dims: tuple[Name, ...]
    sources: tuple[Expression, ...]
    where: Expression
    options: tuple[Option | Rule | Gather, ...]


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """``name = ...``: a tensor of the program, made by an attention or from other tensors."""

    name: Name
    value: Expression | Attend


@dataclass(frozen=True, slots=True)
class Result(Node):
    """``return ...``: what the program gives for each query."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Heads(Node):
    """``heads[start:stop]:`` a group of heads with its own ``attend``."""

    start: Expression | None
    stop: Expression | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Repeat(Node):
    """``for level in range(levels):`` and what stands there once for each value."""

    name: Name
    values: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Paper(Node):
    title: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fidelity(Node):
    level: Name


Statement: TypeAlias = (
    Over
    | Extra
    | Input
    | Require
    | Let
    | Heads
    | Attend
    | Paper
    | Fidelity
    | Part
    | Pool
    | Select
    | Assign
    | Result
    | Repeat
)


@dataclass(frozen=True, slots=True)
class Function(Node):
    name: Name
    parameters: tuple[Parameter, ...]
    returns: TypeName | None
    doc: str | None
    lets: tuple[Let, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    name: Name
    parameters: tuple[Parameter, ...]
    doc: str | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    """``own_line`` comments stand before the statement that follows; others end a line."""

    line: int
    text: str
    own_line: bool


@dataclass(frozen=True, slots=True)
class Module(Node):
    doc: str | None
    declarations: tuple[Function | Pattern, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)

    @property
    def functions(self) -> tuple[Function, ...]:
        return tuple(d for d in self.declarations if isinstance(d, Function))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return tuple(d for d in self.declarations if isinstance(d, Pattern))


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below one node, in source order."""
    return (child for _, child in named_children(node))


def named_children(node: Node) -> Iterator[tuple[str, Node]]:
    """The same, each with the name of the field that holds it."""
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield f.name, value
        elif isinstance(value, tuple):
            yield from ((f.name, item) for item in value if isinstance(item, Node))
