"""The front of the compiler: text in, checked patterns out."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

from attnlang.compiler.diagnostics.model import Diagnostic, Label, PatternError
from attnlang.compiler.diagnostics.report import Report, failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.sema.functions import check_function
from attnlang.compiler.sema.patterns import elaborate
from attnlang.compiler.sema.repeats import check_outside
from attnlang.compiler.sema.scope import RESERVED
from attnlang.compiler.sema.unused import unused
from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.parse import parse


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed file and every function its patterns can call: its own, then the prelude's."""

    tree: t.Module
    functions: ChainMap[str, t.Function]

    @property
    def name(self) -> str:
        return self.tree.span.source.name


@functools.cache
def prelude() -> t.Module:
    """The functions of ``stdlib/prelude.attn``."""
    text = resources.files("attnlang.stdlib").joinpath("prelude.attn").read_text(encoding="utf-8")
    return parse(Source("<prelude>", text))


def open_module(source: Source) -> Module:
    """Parse one text. Raises PatternError for syntax errors."""
    tree = parse(source)
    functions = ({f.name.id: f for f in module.functions} for module in (tree, prelude()))
    return Module(tree, ChainMap(*functions))


def check_module(module: Module) -> tuple[Diagnostic, ...]:
    """Every finding in a file: its functions, and its patterns at their default values."""
    report = Report()
    _check_names(module, report)
    good: list[t.Function | t.Pattern] = []
    for declared in module.tree.declarations:
        before = report.errors
        match declared:
            case t.Function():
                check_function(declared, module.functions, report)
            case t.Pattern():
                elaborate(declared, module.functions, {}, report, complete=False)
        good += [declared] if report.errors == before else []
    for declared in good:
        unused(declared, report)
    return tuple(sorted(report, key=_place))


def remarks(pattern: t.Pattern) -> tuple[Diagnostic, ...]:
    """What a pattern without mistakes says for nothing."""
    report = Report()
    unused(pattern, report)
    return tuple(report)


def _check_names(module: Module, report: Report) -> None:
    seen: dict[str, t.Name] = {}
    for declared in module.tree.declarations:
        name = declared.name
        if name.id in seen:
            report.add(
                "AL102",
                name.span,
                "defined again",
                name=name.id,
                secondary=(Label(seen[name.id].span, "first defined here"),),
            )
        elif isinstance(declared, t.Function) and name.id in RESERVED:
            report.add("AL108", name.span, "choose another name", name=name.id)
        seen.setdefault(name.id, name)
        check_outside(declared, report)


def select(module: Module, name: str | None) -> t.Pattern:
    """The pattern of that name, or the only one; of ``pattern.step`` the pattern.

    Raises PatternError (AL015, AL109).
    """
    name = (name or "").partition(".")[0] or None
    patterns = {p.name.id: p for p in module.tree.patterns}
    if not patterns:
        raise failure("AL015", None, name=module.name)
    if name is None:
        if len(patterns) == 1:
            return next(iter(patterns.values()))
        names = ", ".join(patterns)
        raise failure(
            "AL109", None, name=module.name, pattern="(none given)", help=f"choose one of: {names}"
        )
    if name not in patterns:
        raise failure(
            "AL109", None, name=module.name, pattern=name, help=did_you_mean(name, patterns)
        )
    return patterns[name]


def check_pattern(
    module: Module, name: str | None = None, values: Mapping[str, object] | None = None
) -> PatternIR:
    """One pattern with its parameters' values. Raises PatternError with every mistake found.

    name: ``"pattern"``, or ``"pattern.step"`` for one attention of a program.
    """
    step = (name or "").partition(".")[2]
    pattern = select(module, name)
    report = Report()
    _check_names(module, report)
    made = elaborate(pattern, module.functions, values or {}, report, complete=True)
    report.raise_if_errors()
    if made is None:
        raise PatternError(tuple(report))
    return step_of(made, step) if step else made


def step_of(pattern: PatternIR, name: str) -> PatternIR:
    """One attention of a program. Raises PatternError (AL109)."""
    steps = {} if pattern.program is None else dict(pattern.program.patterns)
    if name not in steps:
        help = did_you_mean(name, steps) if steps else f"`{pattern.name}` has no steps"
        raise failure("AL109", None, name=pattern.name, pattern=name, help=help)
    return replace(steps[name], outer=pattern)


def _place(d: Diagnostic) -> tuple[str, int]:
    return (d.primary.span.source.name, d.primary.span.start) if d.primary else ("", -1)
