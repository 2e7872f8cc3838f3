"""What `attnlang compile` writes of a program: a plan and kernels for every softmax attention, and
which steps run as tensor operations instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnlang.cli.artifact import arrays_of
from attnlang.compiler.ir.program import Assign, Attention, Pool, Recurrence, Select
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import bound_steps
from attnlang.compiler.report.measure import missing_inputs
from attnlang.compiler.report.words import count
from attnlang.pattern import Pattern
from attnlang.planning import known_to_step

if TYPE_CHECKING:
    from attnlang.backends.ahead.directory import Made


@dataclass(slots=True)
class Steps:
    """entries: of the manifest, one a step. arrays: plans, by ``STEP.`` and the names in a plan."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)


def planned(
    pattern: Pattern, made: BoundProgram, given: Mapping[str, Any], only: str | None
) -> Steps:
    """Every step of a program, or one; each softmax attention with its plan."""
    found = Steps()
    bound = {s.name: s for s in bound_steps(made)}
    for step in made.program.steps:
        match step:
            case Pool():
                found.entries.append({"step": step.name, "kind": "pool"})
            case Assign():
                found.entries.append({"step": step.name, "kind": "tensor"})
            case Select():
                found.entries.append({"step": step.name, "kind": "selection"})
            case Attention():
                for branch in step.branches:
                    name = branch.pattern.name.partition(".")[2]
                    if isinstance(branch, Recurrence):
                        found.entries.append({"step": name, "kind": "linear attention"})
                        continue
                    problem = bound[name].problem
                    if problem is None:
                        found.entries.append({"step": name, "kind": "attention without tokens"})
                        continue
                    plan = make(problem, None, known_to_step(problem, given))
                    found.arrays |= {f"{name}.{n}": x for n, x in arrays_of(plan).items()}
                    found.entries.append({
                        "step": name,
                        "kind": "attention",
                        "layout": plan.layout_text,
                        "tiles": {**plan.tiles, "exact": plan.exact},
                        "planned_without": list(missing_inputs(plan)),
                    })  # fmt: skip
    found.entries = [e for e in found.entries if only is None or e["step"] == only]
    found.arrays = {n: x for n, x in found.arrays.items() if only is None or n.startswith(only)}
    return found


def note_kernels(steps: Steps, made: Made) -> None:
    """What was compiled of each step, and why the rest was not."""
    for entry in steps.entries:
        mine = [x for x in made.kernels if x.get("step") == entry["step"]]
        entry["kernels"] = len(mine)
        entry["ahead"] = bool(mine)
        if entry["step"] in made.without:
            entry["why"] = made.without[entry["step"]]
        elif not mine:
            entry["why"] = "tensor operations"


def described_steps(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each step."""
    wide = max((len(x["step"]) for x in entries), default=0)
    for x in entries:
        text = str(x["kind"])
        if "tiles" in x:
            tiles = x["tiles"]
            text += f": {count(tiles['full'])} full and {count(tiles['partial'])} partial tiles"
        if x.get("kernels"):
            text += f"; {x['kernels']} kernels"
        if "why" in x:
            text += f"; no kernels: {x['why']}"
        elif "kernels" not in x and "tiles" not in x:
            text += "; runs as tensor operations"
        yield f"{x['step']:<{wide}}  {text}"


def only_step(pattern: Pattern) -> str | None:
    """The step that was asked for, where it was one."""
    return None if pattern.ir.outer is None else pattern.name.partition(".")[2]
