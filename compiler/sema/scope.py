"""What a name can stand for, and the context an expression is read in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from attnlang.compiler.diagnostics.model import Label
from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.ir.builtins import BUILTINS
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import InputDecl, Per
from attnlang.compiler.ir.program import PairProduct, Product
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.limits import MAX_DEPTH, MAX_NODES, MAX_STEPS


@dataclass(frozen=True, slots=True)
class ValueName:
    """A let, a function argument or a scalar parameter. None: its definition had an error."""

    value: Expr | None


@dataclass(frozen=True, slots=True)
class ChoiceName:
    """A name of an enumeration type, with the choice it has in this elaboration."""

    choice: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AxisName:
    axis: str


@dataclass(frozen=True, slots=True)
class TableName:
    """A parameter with one value per axis or head, or a run-time tensor that is no token input."""

    name: str
    kind: Kind
    rank: int
    per: Per = Per.ONE
    """Per.AXIS: indexed by an axis name."""
    dims: tuple[str, ...] = ()
    """Of a set."""
    weighed: bool = False
    """Of a set whose members have weights."""


@dataclass(frozen=True, slots=True)
class TokenName:
    declaration: InputDecl


Binding: TypeAlias = ValueName | ChoiceName | AxisName | TableName | TokenName

RESERVED = frozenset(
    {"q", "k", "head", "heads", "kv_head", "kv_heads", "head_dim", "true", "false", "len", "dot"}
    | {"and", "or", "not", "if", "else", "in", "where", "return", "def", "pattern", "batch"}
    | set(BUILTINS)
)
ARGUMENTS = frozenset(
    {"index", "self", "v", "sizes", "scale", "return_lse", "q_offset", "tile"}
    | {"state", "return_state"}
)
"""What no input can be called: inputs are passed by name beside these."""
SYMBOLS = {str(s): s for s in SymbolName if s is not SymbolName.SCORE}


@dataclass(frozen=True, slots=True)
class Context:
    """Everything an expression may refer to. Immutable: an inner scope is another context."""

    report: Report
    functions: Mapping[str, t.Function]
    names: Mapping[str, Binding] = field(default_factory=dict)
    q_axes: tuple[str, ...] = ()
    k_axes: tuple[str, ...] = ()
    axes_known: bool = True
    """False where the axes themselves had a mistake: coordinates are not reported too."""
    segments: Mapping[str, tuple[Side, ...]] = field(default_factory=dict)
    score: Expr | None = None
    """What ``s`` stands for; None where there is no score."""
    products: dict[str, Product | PairProduct] | None = None
    """The products with tables that scores read; None where there are none."""
    calls: tuple[tuple[str, Span], ...] = ()
    """The function calls being put in place, outermost first."""

    def axes(self, side: Side) -> tuple[str, ...]:
        return self.q_axes if side is Side.Q else self.k_axes

    def axis_names(self, *sides: Side) -> list[str]:
        """The names that stand for an axis (of one of these sides, if any are given)."""
        axes = {a for side in sides or Side for a in self.axes(side)}
        return [n for n, b in self.names.items() if isinstance(b, AxisName) and b.axis in axes]

    def with_names(self, **names: Binding) -> Context:
        return replace(self, names={**self.names, **names})

    def spend(self, span: Span, steps: int = 1) -> bool:
        """Count the work of reading expressions; False once a run has done too much (AL007)."""
        before = self.report.steps
        self.report.steps = before + steps
        if before <= MAX_STEPS < self.report.steps:
            label = f"{MAX_STEPS} parts were read before this one"
            self.error("AL007", span, label, limit=MAX_NODES, depth=MAX_DEPTH)
        return self.report.steps <= MAX_STEPS and not self.report.full

    def error(self, code: str, span: Span | None, label: str = "", **rest: object) -> None:
        """Report a mistake; inside a function, also where the pattern called it."""
        secondary: tuple[Label, ...] = rest.pop("secondary", ())  # type: ignore[assignment]
        if self.calls and self.calls[0][1] != span:
            name, call = self.calls[0]
            secondary = (*secondary, Label(call, f"in this call of `{name}`"))
        self.report.add(code, span, label, secondary=secondary, **rest)
