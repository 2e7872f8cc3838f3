"""Two programs at one size, step by step: what says the same, and which pairs differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from attnlang.cli.compare import Difference, compare
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import Attention, Branch, Step
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import bound_steps
from attnlang.compiler.report.relation import relations
from attnlang.planning import known_to_step

RESULT = "return"


@dataclass(frozen=True, slots=True)
class StepDifference:
    """same, different: names of steps that both have, the last of which is the result. pairs: of
    attentions among the different ones that no run-time tensor decides."""

    same: tuple[str, ...]
    different: tuple[str, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    pairs: Mapping[str, Difference]

    @property
    def equal(self) -> bool:
        return not (self.different or self.only_in_a or self.only_in_b)


def compare_programs(
    a: BoundProgram, b: BoundProgram, given: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> StepDifference:
    """Steps are the same where they say the same once lengths and parameters are put in, or where
    the same pairs attend."""
    left, right = _steps(a), _steps(b)
    both = [name for name in left if name in right]
    unlike = [n for n in both if _settled(left[n], a) != _settled(right[n], b)]
    pairs = dict(_pairs(a, b, set(unlike), given))
    different = [n for n in unlike if not _alike(left[n], right[n], a, b, pairs)]
    same = [n for n in both if n not in different]
    ours, theirs = (_settled(x.program.result, x) for x in (a, b))
    (same if ours == theirs else different).append(RESULT)
    return StepDifference(
        tuple(same),
        tuple(different),
        tuple(n for n in left if n not in right),
        tuple(n for n in right if n not in left),
        {n: d for n, d in pairs.items() if n.partition(".")[0] in different},
    )


def _alike(
    x: object, y: object, a: BoundProgram, b: BoundProgram, pairs: Mapping[str, Difference]
) -> bool:
    """Do two attentions differ only in how they say which pairs attend?"""
    if not isinstance(x, Attention) or _settled(x, a, False) != _settled(y, b, False):
        return False
    names = [branch.pattern.name.partition(".")[2] for branch in x.branches]
    return all(n in pairs and pairs[n].equal for n in names)


def _steps(made: BoundProgram) -> dict[str, object]:
    """Parts and steps by name; a part also says where its runs begin."""
    parts: dict[str, object] = {p.name: p for p in made.program.parts}
    steps: dict[str, Step] = {s.name: s for s in made.program.steps}
    return parts | steps


def _settled(x: object, made: BoundProgram, conditions: bool = True) -> object:
    """With numbers for parameters and lengths, and patterns for what they say of pairs.

    conditions: of which pairs attend, too.
    """
    if isinstance(x, PatternIR):
        return tuple(_settled(g, made, conditions) for g in x.groups)
    if isinstance(x, e.Node):
        return made.close(x)  # type: ignore[arg-type]
    if is_dataclass(x):
        read = (f.name for f in fields(x) if f.compare and (conditions or f.name != "where"))
        return (type(x).__name__, *(_settled(getattr(x, n), made, conditions) for n in read))
    if isinstance(x, tuple):
        return tuple(_settled(item, made, conditions) for item in x)
    return x


def _pairs(
    a: BoundProgram,
    b: BoundProgram,
    different: set[str],
    given: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Any:
    """The difference of every attention that can be looked at pair by pair."""
    names = {
        branch.pattern.name.partition(".")[2]
        for step in a.program.steps
        if isinstance(step, Attention) and step.name in different
        for branch in step.branches
        if isinstance(branch, Branch)
    }
    others = {s.name: s for s in bound_steps(b)}
    for step in bound_steps(a):
        x, other = step.problem, others.get(step.name)
        y = other.problem if other is not None else None
        if step.name not in names or x is None or y is None:
            continue
        if (x.q_len, x.k_len, x.heads) != (y.q_len, y.k_len, y.heads):
            continue
        known = tuple(known_to_step(p, g) for p, g in zip((x, y), given, strict=True))
        if all(r.evaluable for p, k in zip((x, y), known, strict=True) for r in relations(p, k)):
            yield step.name, compare(x, y, [(known[0], known[1])])
