"""``attnlang compile``: a plan, its manifest and its pattern, in a directory."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from attnlang.backends.support import REFUSES, refusals
from attnlang.backends.triton import target
from attnlang.cli.ahead import Steps, described_steps, note_kernels, only_step, planned
from attnlang.cli.artifact import arrays_of, check_out, write_directory
from attnlang.cli.console import Console
from attnlang.cli.failures import PATTERN
from attnlang.cli.kernels import compiled, described
from attnlang.cli.options import (
    add_inputs,
    add_parameters,
    add_sizes,
    add_target,
    inputs_of,
    parameters_of,
    sizes_of,
)
from attnlang.cli.parser import Parser
from attnlang.cli.progress import working
from attnlang.cli.sizing import USUAL, demand_sizes, filled_in, sized_by
from attnlang.cli.standalone import standalone
from attnlang.cli.target import open_target
from attnlang.cli.tensors import lengths_of, on_grid, read_tensors
from attnlang.compiler.check import check_pattern, remarks, select
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.report.data import to_dict
from attnlang.compiler.report.measure import missing_inputs
from attnlang.compiler.report.words import count, scaled
from attnlang.pattern import Pattern
from attnlang.planning import known
from attnlang.stdlib_info import input_type

SCHEMA = "attnlang.manifest/1"
PROGRAM = "attnlang.manifest.program/1"
DESCRIPTION = """Writes pattern.attn (canonical, with every function it needs), manifest.json and
plan.npz; with --target also the Triton modules, for which lengths need not be said, their machine
code, and attention.py, which runs the directory with PyTorch and Triton alone. The directory
appears whole or not at all. Of a program every attention has kernels; the rest is tensor
operations, written out."""
EXAMPLES = (
    "attnlang compile stdlib:sliding_window --size n=131072 --heads 32 --out build/window",
    "attnlang compile my.attn --size y=64 --size x=64 --set window=7 --verify --out build/my",
    "attnlang compile stdlib:causal --size n=4096 --backend blocked --force --out build/causal",
    "attnlang compile stdlib:alibi --target cuda:90 --dtype fp16 --out build/alibi",
)
AUTO = "auto"
TOLERANCE = 1e-4
"""Largest difference to the reference with which --verify is content, in float32."""


def configure(parser: Parser) -> None:
    add_target(parser)
    add_sizes(parser)
    add_parameters(parser)
    add_inputs(parser)
    parser.add_argument("--backend", choices=(AUTO, *REFUSES), default=AUTO, help="default: auto")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        choices=target.NAMES,
        dest="machines",
        help="also compile Triton kernels for a GPU (none needs to be here); may be repeated",
    )
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="of --target's kernels"
    )
    parser.add_argument(
        "--verify", action="store_true", help="run it beside the reference and note the error"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    parser.add_argument("--force", action="store_true", help="replace what an earlier run wrote")


def run(args: Namespace, console: Console) -> int:
    out = Path(args.out)
    check_out(out, replace=args.force)
    module, name = open_target(args.target)
    pattern = Pattern(module, check_pattern(module, name, parameters_of(args)))
    written = select(module, name)
    said = remarks(written)
    if said:
        console.show(said)
    backend = _backend(pattern, args.backend)
    tensors = read_tensors(inputs_of(args), pattern.ir)
    sizes = {**lengths_of(tensors, pattern.ir), **sizes_of(args)}
    if args.machines:  # kernels take lengths as arguments
        heads = {"kv_heads": args.kv_heads, "head_dim": args.head_dim}
        sizes = filled_in((pattern.ir,), sizes, args.heads, USUAL, **heads)
    demand_sizes(pattern.ir, sizes)
    given = on_grid(tensors, sizes, pattern.ir)
    program = sized_by(pattern.ir, sizes).program is not None
    steps = Steps()
    with working("planning", console):
        if program:
            manifest, steps = _steps(pattern, backend, sizes, args, given)
            arrays = steps.arrays
        else:
            manifest, arrays = _plan(pattern, backend, sizes, args, given)
    if args.verify:
        with working("running beside the reference", console):
            manifest["verified"] = _verify(pattern, backend, sizes, args, given)
    text = standalone(module, written)
    more: dict[str, bytes] = {}
    if args.machines:
        if not program:
            refuse("triton", pattern)
        with working(f"compiling kernels for {', '.join(args.machines)}", console):
            made = compiled(pattern, sizes, args, text)
        note_kernels(steps, made)
        more = made.files
        manifest.update(kernels=made.kernels, launch=made.launch)
        manifest["files"] += sorted(more)
        manifest["sha256"] = {n: sha256(x).hexdigest() for n, x in sorted(more.items())}
    write_directory(out, text, manifest, arrays, more, replace=args.force)
    if console.json:
        console.print_json(manifest)
    else:
        console.print(_summary(out, manifest))
    verified = manifest["verified"]
    return 0 if verified is None or verified["passed"] else PATTERN


def _backend(pattern: Pattern, asked: str) -> str:
    """The backend by name. Raises Unsupported when it refuses the pattern."""
    if asked == "auto":
        return "reference" if refusals("blocked", pattern.ir) else "blocked"
    refuse(asked, pattern)
    return asked


def refuse(backend: str, pattern: Pattern) -> None:
    """Raises Unsupported when a backend does not run a pattern."""
    reasons = refusals(backend, pattern.ir)
    if reasons:
        raise Unsupported(reasons[0], backend, "--backend reference")


def _plan(
    pattern: Pattern, backend: str, sizes: Mapping[str, int], args: Namespace, given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    from attnlang.compiler.report.measure import measure

    plan = pattern.plan(sizes, args.heads, kv_heads=args.kv_heads, head_dim=args.head_dim, **given)
    data = to_dict(measure(plan, sizes, args.head_dim, 0.0))
    tiles = data["tiles"]
    about = {
        "layout": tiles["layout"],
        "tiles": {kind: tiles[kind] for kind in ("full", "partial", "empty", "exact")},
        "pairs": data["pairs"]["count"],
        "density": data["pairs"]["density"],
        "waste": tiles["waste"],
        "planned_without": list(missing_inputs(plan)),
        "facts": {name: fact["holds"] for name, fact in data["facts"].items()},
    }
    return _manifest(SCHEMA, pattern, backend, sizes, args, plan.problem, about), arrays_of(plan)


def _steps(
    pattern: Pattern, backend: str, sizes: Mapping[str, int], args: Namespace, given: dict[str, Any]
) -> tuple[dict[str, Any], Steps]:
    """The same of a program, with an entry for each of its steps."""
    made = pattern.whole.bound(sizes, args.heads, kv_heads=args.kv_heads, head_dim=args.head_dim)
    known(made.frame, given)  # what does not fit is told before anything is planned
    steps = planned(pattern, made, given, only_step(pattern))
    about = {"steps": steps.entries}
    return _manifest(PROGRAM, pattern, backend, sizes, args, made.frame, about), steps


def _manifest(
    schema: str,
    pattern: Pattern,
    backend: str,
    sizes: Mapping[str, int],
    args: Namespace,
    problem: Problem,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    from attnlang import __version__

    meta, ir = pattern.meta, pattern.ir
    return {
        "schema": schema,
        "attnlang": __version__,
        "pattern": pattern.name,
        "hash": pattern.hash,
        "params": pattern.params,
        "axes": {"q": list(ir.q_axes), "k": list(ir.k_axes)},
        "inputs": [
            {"name": i.name, "type": input_type(i), "optional": i.optional} for i in ir.inputs
        ],
        "sizes": dict(sizes),
        "tokens": {"q": problem.q_len, "k": problem.k_len},
        "heads": args.heads,
        "kv_heads": problem.kv_heads,
        "head_dim": args.head_dim,
        "backend": backend,
        **about,
        "paper": {"title": meta.paper, "year": meta.year, "arxiv": meta.arxiv},
        "fidelity": meta.fidelity,
        "kernels": [],
        "launch": None,
        "verified": None,
        "files": ["manifest.json", "pattern.attn", "plan.npz"],
    }


def _verify(
    pattern: Pattern, backend: str, sizes: Mapping[str, int], args: Namespace, given: dict[str, Any]
) -> dict[str, Any]:
    from attnlang.cli.verify import verify

    heads = (args.heads, args.kv_heads or args.heads)
    found = verify(pattern, backend, sizes, heads, args.head_dim, given)
    errors = {name: _finite(error) for name, error in found.errors.items()}
    passed = found.worst <= TOLERANCE
    return {**asdict(found), "errors": errors, "worst": _finite(found.worst), "passed": passed}


def _finite(error: float) -> float | None:
    """JSON has no infinity: None stands for it."""
    return error if math.isfinite(error) else None


def _summary(out: Path, manifest: Mapping[str, Any]) -> str:
    at = ", ".join(f"{axis}={length}" for axis, length in manifest["sizes"].items())
    runs = "for GPUs" if manifest["kernels"] else f"for the {manifest['backend']} backend"
    size = scaled(sum(f.stat().st_size for f in out.iterdir()), "B")
    lines = [f"wrote {out}: {manifest['pattern']} {runs}, planned at {at}, {size}"]
    if "steps" in manifest:
        lines += [f"  {line}" for line in described_steps(manifest["steps"])]
    else:
        tiles = manifest["tiles"]
        full, partial = count(tiles["full"]), count(tiles["partial"])
        lines.append(f"  {full} full and {partial} partial tiles; {manifest['layout']}")
    lines += [f"  {line}" for line in described(manifest["kernels"])]
    if manifest["launch"] is not None:
        refused = manifest["launch"].get("refused")
        lines.append(f"  no attention.py: {refused}" if refused else "  attention.py runs it")
    verified = manifest["verified"]
    if verified is not None:
        word = "agrees with the reference" if verified["passed"] else "DIFFERS from the reference"
        at = ", ".join(f"{n}={s}" for n, s in verified["sizes"].items())
        worst = "infinite" if verified["worst"] is None else f"{verified['worst']:.1e}"
        lines.append(f"  {word} at {at}: largest error {worst}, gradients included")
    return "\n".join(lines)
