"""Everything of a pattern that is compiled ahead: kernels, machine code, and Python around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import torch

from attnlang.backends.ahead.attentions import Branched, branched
from attnlang.backends.ahead.bundle import bundled, defined, source
from attnlang.backends.ahead.emit import as_program, attention_text
from attnlang.backends.ahead.linears import class_of
from attnlang.backends.ahead.package import launched
from attnlang.backends.ahead.parts import cuts_of, heads_of, part_of
from attnlang.backends.ahead.scope import Scope
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.linear.triton import ahead as linear
from attnlang.backends.program.run import step_name
from attnlang.backends.triton.ahead import Compiled, compile_kernel
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.descriptors import describes
from attnlang.backends.triton.source.printer import comment_safe
from attnlang.backends.triton.support import refuses
from attnlang.backends.triton.target import Target, target
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.ir.program import Recurrence, recurrences
from attnlang.compiler.plan.branches import branches
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_OURS = "attnlang.backends"
HELPERS = tuple(
    f"{_OURS}.{name}"
    for name in (
        "precision", "program.maps", "program.reduce", "program.regions", "program.order",
        "program.search", "program.rules", "program.tables", "ahead.runtime.numbers",
        "ahead.runtime.call", "ahead.runtime.rules", "ahead.runtime.rows",
    )
)  # fmt: skip
"""What `attention.py` may call, in an order in which nothing reads what comes later."""
LAUNCH = tuple(
    f"{_OURS}.{name}"
    for name in (
        "triton.choices", "triton.descriptors", "triton.fit", "triton.amounts", "triton.steps",
        "ahead.runtime.files", "ahead.runtime.kernels", "ahead.runtime.launch",
    )
)  # fmt: skip
"""What launches the kernels of softmax attention."""
LINEAR = tuple(
    f"{_OURS}.{name}"
    for name in (
        "precision", "linear.form", "linear.polynomial", "linear.normalise", "linear.bidirectional",
        "linear.around", "linear.prefix", "linear.triton.tiles", "linear.triton.halves",
        "linear.triton.scans", "linear.triton.chunks", "linear.triton.gradients",
        "linear.triton.launch", "linear.triton.attend", "ahead.runtime.recurrence",
    )
)  # fmt: skip
"""The kernels of linear attention and what runs them."""


@dataclass(slots=True)
class Made:
    """kernels: an entry of the manifest for each. launch: by step, how kernels are launched; or why
    there is no `attention.py`. without: by step, why nothing of it is compiled."""

    kernels: list[dict[str, Any]] = field(default_factory=list)
    launch: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)


def compile_pattern(
    problem: Problem | BoundProgram, sizes: Mapping[str, int], targets: Sequence[str], dtype: str,
    about: Sequence[str],
) -> Made:  # fmt: skip
    """One attention, or every step of a program, for every target.

    sizes: of the whole pattern. about: lines that say what it was made from.
    """
    bound = problem if isinstance(problem, BoundProgram) else as_program(problem)
    own: dict[str, Problem] = {}
    if isinstance(problem, Problem):
        own = {one.pattern.name: one for one in branches(problem) or (problem,)}
    made, shapes = Made(), Shapes(bound, bound.frame.head_dim)
    machines = [target(name) for name in targets]
    ready: dict[str, Branched] = {}
    for one in branched(bound, shapes):
        one = replace(one, problem=own.get(one.name, one.problem))
        reasons = refuses(one.problem.pattern)
        if reasons:
            made.without[one.name] = f"Triton does not run {reasons[0]}"
            continue
        ready[one.name] = _compiled(made, one, sizes, machines, dtype, step=len(own) != 1)
    for step in recurrences(bound.program):
        _recurrence(made, Scope(bound), shapes, step, machines, DTYPES[dtype])
    refused = next(iter(made.without.values()), None)
    try:
        if refused is None:
            made.files |= _python(bound, shapes, ready, about)
    except Unsupported as no:
        refused = no.feature
    if refused is not None:
        made.launch = {"refused": refused}
    return made


def compile_step(
    problem: Problem, sizes: Mapping[str, int], targets: Sequence[str], dtype: str
) -> Made:  # fmt: skip
    """One attention of a program by itself: its kernels, without what brings its tensors."""
    made = Made()
    width = problem.head_dim
    name = problem.pattern.name.partition(".")[2]
    bound = as_program(problem)
    one = next(branched(bound, Shapes(bound, width)))
    one = replace(one, name=name, problem=problem)
    _compiled(made, one, sizes, [target(n) for n in targets], dtype, step=True)
    made.launch = {"refused": "one step of a program"}
    return made


def _compiled(
    made: Made, one: Branched, sizes: Mapping[str, int], machines: Sequence[Target], dtype: str,
    *, step: bool,
) -> Branched:  # fmt: skip
    """The kernels of one attention. Tiles are those of its plan, whatever the run-time tensors."""
    problem, plan = one.problem, make(one.problem)
    inputs = problem.pattern.inputs
    learned = frozenset(i.name for i in inputs if i.kind is Kind.FLOAT)
    prefix = f"{one.name}." if step else ""
    described = describes(DTYPES[dtype])
    parts = []
    for cut, group in product(cuts_of(plan, dtype, one.width, one.value_width), problem.groups):
        form = form_of(problem, group, cut.tables.tiles(), frozenset(), learned)
        part = part_of(problem, group, cut, form, prefix, described=described)
        parts += [part] if heads_of(part) else []
    for module in (m for part in parts for m in (part.module, part.described) if m is not None):
        made.files[module.name] = module.text.encode()
    own = {"step": one.name} if step else {}
    for part, machine in product(parts, machines):
        second = part.described if machine.describes else None
        for module in (m for m in (part.module, second) if m is not None):
            for kernel in module.kernels:
                own_shape = part.cut.shape_of(kernel)
                x = compile_kernel(module.text, kernel, machine, own_shape)
                about = {**asdict(own_shape), "described": list(kernel.described)}
                stem = f"{module.name.removesuffix('.py')}.{x.kernel}"
                _add(made, stem, machine, x, {**own, "module": module.name, **about})
    launch, files = launched(problem, sizes, parts, prefix)
    made.launch[one.name] = launch
    made.files |= files
    return replace(one, parts=parts)


def _recurrence(
    made: Made, scope: Scope, shapes: Shapes, step: Recurrence, machines: Sequence[Target],
    dtype: torch.dtype,
) -> None:  # fmt: skip
    name = step_name(step)
    of = class_of(scope, shapes, step, dtype)
    if of is None:  # one product of matrices, which torch has
        return
    if of.delta and of.width > linear.WHOLE:
        made.without[name] = f"the delta rule has kernels for {linear.WHOLE} channels at most"
        return
    about = asdict(of) | {"dtype": str(of.dtype).removeprefix("torch.")}
    for machine in machines:
        times: dict[str, int] = {}
        for x in linear.compile_kernels(machine, of):
            again = times[x.kernel] = times.get(x.kernel, 0) + 1
            stem = f"{name}.{x.kernel}" + (f"{again}" if again > 1 else "")
            _add(made, stem, machine, x, {"step": name, "module": "linear.py", **about})


def _add(made: Made, stem: str, machine: Target, x: Compiled, about: dict[str, Any]) -> None:
    """An entry of the manifest, and its machine code as files. about: what else it says."""
    suffixes = ("ptx", "cubin") if machine.backend == "cuda" else ("amdgcn", "hsaco")
    names = [f"{stem}.{machine.label}.{s}" for s in suffixes]
    report = asdict(x.built)
    made.files[names[0]] = report.pop("text").encode()
    made.files[names[1]] = report.pop("binary")
    made.kernels.append({
        **about,
        "kernel": x.kernel,
        "target": machine.name,
        "choice": asdict(x.choice),
        "constants": dict(x.constants),
        **report,
        "dropped": [asdict(d) for d in x.dropped],
        "files": names,
    })  # fmt: skip


def _python(
    bound: BoundProgram, shapes: Shapes, ready: Mapping[str, Branched], about: Sequence[str]
) -> dict[str, bytes]:
    """What runs the directory."""
    steps = [step_name(s) for s in recurrences(bound.program)]
    head = "".join(f"# {comment_safe(line)}".rstrip() + "\n" for line in about) + "\n"
    text = head + attention_text(bound, shapes, ready, DOC, steps)
    files = {
        "attention.py": text,
        "launch.py": head + bundled("How kernels are launched.", LAUNCH),
        "tensors.py": head + bundled("What attention.py calls.", list(_helpers(text))),
    }
    if steps:
        files["linear.py"] = head + bundled("Linear attention by kernels.", LINEAR)
    return {name: content.encode() for name, content in files.items()}


DOC = (
    "Attention by the files of this directory. PyTorch and Triton are all that they need.",
    "",
    "    import attention",
    "    out, lse = attention.attend(q, k, v)",
    "",
    "Written by `attnlang compile`; how kernels are launched is in manifest.json.",
)


def _helpers(text: str) -> Iterator[str]:
    """The modules that a text calls, and those that these import."""
    called = set(re.findall(r"\bt\.(\w+)", text))
    needed: set[str] = set()
    for name in reversed(HELPERS):
        if name in needed or called & set(defined(name)):
            needed |= {name, *re.findall(rf"^from ({_OURS}[\w.]+) import", source(name), re.M)}
    return (name for name in HELPERS if name in needed)
