"""``attnlang diff``: do two patterns attend the same pairs?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from attnlang.cli.compare import Change, Difference, compare
from attnlang.cli.compare_steps import StepDifference, compare_programs
from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.options import (
    Value,
    add_inputs,
    add_parameters,
    add_sizes,
    add_target,
    inputs_of,
    parameters_of,
    sizes_of,
)
from attnlang.cli.parser import Parser
from attnlang.cli.shortening import long_parameters
from attnlang.cli.sizing import MODERATE, filled_in, heads_for
from attnlang.cli.target import open_target
from attnlang.cli.tensors import (
    batch_of,
    demand_inputs,
    lengths_of,
    on_grid,
    read_tensors,
    with_absent,
)
from attnlang.compiler.check import check_pattern, select
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.report.words import count, plural
from attnlang.pattern import Pattern
from attnlang.planning import known

SCHEMA = "attnlang.diff/1"
PROGRAMS = "attnlang.diff.program/1"
DESCRIPTION = """Every pair is looked at, at one size: the one given, or a moderate one. Patterns
with the same content hash are equal at every size. Programs are compared step by step, by what
they say; one step is compared like any pattern: FILE.attn:NAME.STEP. Exit code 0 when equal, 1
when not."""
EXAMPLES = (
    "attnlang diff old.attn new.attn",
    "attnlang diff stdlib:streaming_sink mine.attn --size n=512 --set window=64",
    "attnlang diff stdlib:sliding_window stdlib:sliding_window --set-a window=8 --set-b window=9",
)


def configure(parser: Parser) -> None:
    add_target(parser, "a")
    add_target(parser, "b")
    add_sizes(parser, heads=None)
    add_parameters(parser)
    for side in ("a", "b"):
        parser.add_argument(
            f"--set-{side}", action="append", default=[], metavar="NAME=VALUE",
            help=f"value of a parameter of {side.upper()} alone",
        )  # fmt: skip
    add_inputs(parser)


def run(args: Namespace, console: Console) -> int:
    a, b = _load(args)
    if a.hash == b.hash:
        return _tell_identical(a, console)
    if (a.ir.q_axes, a.ir.k_axes) != (b.ir.q_axes, b.ir.k_axes):
        return _tell_axes(a, b, console)
    programs = [p.ir.program is not None for p in (a, b)]
    if programs[0] != programs[1]:
        return _tell_kinds(a, b, console)
    written = inputs_of(args)
    for name in written:
        if name.rpartition(".")[2] not in {**a.inputs, **b.inputs}:
            raise UsageError(f"neither pattern has an input `{name}`")
    tensors = [read_tensors(_mine(written, p.ir), p.ir) for p in (a, b)]
    for pattern, given in zip((a, b), tensors, strict=True):
        if pattern.ir.program is None:
            demand_inputs(pattern.ir, given)
    lengths = {**lengths_of(tensors[0], a.ir), **lengths_of(tensors[1], b.ir)}
    heads = max(heads_for(a.ir, args.heads), heads_for(b.ir, args.heads))
    sizes = filled_in(
        (a.ir, b.ir),
        {**lengths, **sizes_of(args)},
        heads,
        MODERATE,
        kv_heads=args.kv_heads,
        head_dim=args.head_dim,
    )
    if all(programs):
        return _programs(a, b, sizes, heads, args, tensors, console)
    found = _compare(a, b, sizes, heads, args, tensors)
    if console.json:
        console.print_json(_data(a, b, sizes, heads, found))
    else:
        for pattern in (a, b):
            for note in long_parameters(pattern.ir, sizes):
                console.note(f"{pattern.name}: {note}")
        console.print(_text(args, sizes, heads, found))
    return 0 if found.equal else 1


def _load(args: Namespace) -> tuple[Pattern, Pattern]:
    shared = parameters_of(args)
    opened = [open_target(target) for target in (args.a, args.b)]
    declared = [{p.name.id for p in select(*o).parameters} for o in opened]
    for name in shared:
        if name not in declared[0] | declared[1]:
            raise UsageError(f"neither pattern has a parameter `{name}`")
    made = []
    for (module, chosen), mine, own in zip(opened, declared, (args.set_a, args.set_b), strict=True):
        values: dict[str, Value] = {n: v for n, v in shared.items() if n in mine}
        values |= parameters_of(Namespace(parameters=own))
        made.append(Pattern(module, check_pattern(module, chosen, values)))
    return made[0], made[1]


def _mine(written: Mapping[str, str], ir: PatternIR) -> dict[str, str]:
    names = {i.name for i in ir.inputs}
    return {n: text for n, text in written.items() if n.rpartition(".")[2] in names}


def _compare(
    a: Pattern,
    b: Pattern,
    sizes: Mapping[str, int],
    heads: int,
    args: Namespace,
    tensors: list[dict[str, Any]],
) -> Difference:
    problems = [
        p.problem(sizes, heads, kv_heads=args.kv_heads, head_dim=args.head_dim) for p in (a, b)
    ]
    laid = [
        with_absent(on_grid(t, sizes, p.pattern), p) for t, p in zip(tensors, problems, strict=True)
    ]
    batch = max(batch_of(t, p.ir) for p, t in zip((a, b), laid, strict=True))
    each = [(known(problems[0], laid[0], i), known(problems[1], laid[1], i)) for i in range(batch)]
    return compare(problems[0], problems[1], each)


def _tell_identical(a: Pattern, console: Console) -> int:
    if console.json:
        console.print_json({"schema": SCHEMA, "equal": True, "identical": True, "hash": a.hash})
    else:
        console.print(f"identical at every size: content hash {a.hash[:16]}")
    return 0


def _programs(
    a: Pattern,
    b: Pattern,
    sizes: Mapping[str, int],
    heads: int,
    args: Namespace,
    tensors: list[dict[str, Any]],
    console: Console,
) -> int:
    """Programs are compared step by step, by what they say."""
    made = [p.bound(sizes, heads, kv_heads=args.kv_heads, head_dim=args.head_dim) for p in (a, b)]
    laid = [
        with_absent(on_grid(t, sizes, m.frame.pattern), m.frame)
        for t, m in zip(tensors, made, strict=True)
    ]
    found = compare_programs(made[0], made[1], (laid[0], laid[1]))
    if console.json:
        console.print_json({
            "schema": PROGRAMS,
            "equal": found.equal,
            "identical": False,
            "sizes": dict(sizes),
            "heads": heads,
            "hashes": [a.hash, b.hash],
            "same": found.same,
            "different": found.different,
            "only_in_a": found.only_in_a,
            "only_in_b": found.only_in_b,
            "pairs": {n: {"of": list(d.pairs), "only_in_a": d.removed, "only_in_b": d.added}
                      for n, d in found.pairs.items()},
        })  # fmt: skip
    else:
        console.print("\n".join(_step_lines(found, sizes, heads)))
    return 0 if found.equal else 1


def _step_lines(found: StepDifference, sizes: Mapping[str, int], heads: int) -> Iterator[str]:
    at = _at(sizes, heads)
    if found.equal:
        yield f"equal at {at}: every step says the same"
        return
    yield f"different at {at}"
    for words, names in (
        ("the same", found.same),
        ("only in A", found.only_in_a),
        ("only in B", found.only_in_b),
        ("different", found.different),
    ):
        if names:
            yield f"  {words}: {', '.join(names)}"
    for name, one in found.pairs.items():
        if one.removed or one.added:
            yield (
                f"  {name}: {count(one.removed)} of {count(one.pairs[0])} pairs only in A, "
                f"{count(one.added)} of {count(one.pairs[1])} only in B"
            )
        else:
            yield f"  {name}: the same {count(one.pairs[0])} pairs attend"


def _tell_kinds(a: Pattern, b: Pattern, console: Console) -> int:
    if console.json:
        kinds = ["program" if p.ir.program is not None else "attention" for p in (a, b)]
        console.print_json({"schema": SCHEMA, "equal": False, "identical": False, "kinds": kinds})
        return 1
    letter, program = ("A", a) if a.ir.program is not None else ("B", b)
    steps = ", ".join(f"`{program.name}.{n}`" for n in program.steps)
    console.print(f"different: {letter} is a program of several steps, the other is one attention")
    console.print(f"  compare one of its steps: {steps}")
    return 1


def _at(sizes: Mapping[str, int], heads: int) -> str:
    return ", ".join(f"{n}={s}" for n, s in sizes.items()) + f" with {plural(heads, 'head')}"


def _tell_axes(a: Pattern, b: Pattern, console: Console) -> int:
    if console.json:
        axes = [list(p.axes) for p in (a, b)]
        console.print_json({"schema": SCHEMA, "equal": False, "identical": False, "axes": axes})
    else:
        first, second = (", ".join(p.axes) for p in (a, b))
        console.print(f"different: A is over {first}, B is over {second}")
    return 1


def _data(
    a: Pattern, b: Pattern, sizes: Mapping[str, int], heads: int, found: Difference
) -> dict[str, Any]:
    changes = [
        {"batch": c.batch, "head": c.head, "query": c.query, "key": c.key,
         "only_in": "b" if c.added else "a"}
        for c in found.changes
    ]  # fmt: skip
    return {
        "schema": SCHEMA,
        "equal": found.equal,
        "identical": False,
        "sizes": dict(sizes),
        "heads": heads,
        "hashes": [a.hash, b.hash],
        "pairs": list(found.pairs),
        "only_in_a": found.removed,
        "only_in_b": found.added,
        "changes": changes,
        "clauses": {name: list(which) for name, which in found.clauses},
    }


def _text(args: Namespace, sizes: Mapping[str, int], heads: int, found: Difference) -> str:
    at = _at(sizes, heads)
    if found.equal:
        return f"equal at {at}: the same {count(found.pairs[0])} pairs attend, and alike"
    lines = [f"different at {at}"]
    if found.removed or found.added:
        lines.append(
            f"  {count(found.removed)} of {count(found.pairs[0])} pairs only in A, {args.a}"
        )
        lines.append(f"  {count(found.added)} of {count(found.pairs[1])} pairs only in B, {args.b}")
        lines += [f"    {_change(c, heads)}" for c in found.changes]
        rest = found.removed + found.added - len(found.changes)
        if rest:
            lines.append(f"    and {count(rest)} more")
    else:
        lines.append(f"  the same {count(found.pairs[0])} pairs attend")
    for name, which in found.clauses:
        where = "" if len(which) == heads else f" in {plural(len(which), 'head')}"
        lines.append(f"  `{name}` gives other values{where}")
    return "\n".join(lines)


def _change(c: Change, heads: int) -> str:
    head = f", head {c.head}" if heads > 1 else ""
    batch = f", batch {c.batch}" if c.batch else ""
    return f"query {c.query}, key {c.key}{head}{batch}: only in {'B' if c.added else 'A'}"
