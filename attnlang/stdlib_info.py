"""What the standard library says of a pattern, without planning or running anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnlang.backends.support import supporting
from attnlang.compiler.check import open_module, select
from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.ir import text
from attnlang.compiler.ir.pattern import InputDecl, ParameterValue
from attnlang.compiler.sema.patterns import elaborate


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """default None: the parameter must be given."""

    type: str
    default: ParameterValue | None


@dataclass(frozen=True, slots=True)
class PatternInfo:
    """One pattern of the standard library.

    fidelity: ``verified`` against the paper's own definition, or an ``interpretation`` of it.
    inputs: type of each run-time tensor by name. backends: those that run it.
    """

    name: str
    family: str
    doc: str
    paper: str | None
    year: int | None
    arxiv: str | None
    fidelity: str | None
    params: Mapping[str, ParameterInfo]
    inputs: Mapping[str, str]
    axes: tuple[str, ...]
    backends: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join(self.doc.strip().partition("\n\n")[0].split())


def pattern_info(name: str) -> PatternInfo:
    """Read one pattern. Raises PatternError (AL109) for an unknown id."""
    from attnlang import stdlib

    module = open_module(stdlib.source(name))
    report = Report()
    ir = elaborate(select(module, name), module.functions, {}, report, complete=False)
    report.raise_if_errors()
    assert ir is not None
    meta = ir.meta
    params = {p.name: ParameterInfo(p.type_name, _shown(p.default)) for p in ir.parameters}
    return PatternInfo(
        name=name,
        family=stdlib.family(name),
        doc=meta.doc,
        paper=meta.paper,
        year=meta.year,
        arxiv=meta.arxiv,
        fidelity=meta.fidelity,
        params=params,
        inputs={i.name: input_type(i) for i in ir.inputs},
        axes=tuple(dict.fromkeys((*ir.q_axes, *ir.k_axes))),
        backends=supporting(ir),
    )


def input_type(decl: InputDecl) -> str:
    """``int[batch, n] sorted``, as it is written in the language."""
    flags = {"sorted": decl.sorted, "optional": decl.optional, "nonpositive": decl.nonpositive}
    return " ".join((text.input_type(decl), *(name for name, said in flags.items() if said)))


def _shown(value: ParameterValue | None) -> ParameterValue | None:
    """One number for all axes or heads that have the same."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
