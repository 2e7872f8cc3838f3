"""``attnlang bench``: measurements; they never pass or fail."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.parser import Parser
from attnlang.cli.progress import steps

DESCRIPTION = """`suite` measures the workloads of papers beside what else there is: PyTorch's
attention with and without a mask, FlexAttention, and flash-attn, NATTEN and flash-linear-attention
where installed. All get the same tensors and are compared with the reference before they are timed.

`plan` measures planning and how much of what is visited is needed, `op` one window beside
PyTorch's attention with the same mask, `memory` what up to 262144 tokens take, `constant` what a
token of linear attention costs at every length, `start` how long imports and first calls take,
`explain` the report on every pattern of the standard library at about a million tokens."""
EXAMPLES = (
    "attnlang bench suite --quick",
    "attnlang bench suite --only window --out results",
    "attnlang bench op --json > op.json",
)
WHAT = ("suite", "plan", "op", "memory", "constant", "start", "explain")
TAKES = {
    "quick": ("suite",),
    "only": ("suite", "explain"),
    "device": ("suite", "constant"),
}
"""Options that not everything takes."""

Tell = Callable[[str], None]
Measured = tuple[dict[str, Any], str, dict[str, str]]
"""The result, its table, and pictures by the end of their names."""


def configure(parser: Parser) -> None:
    parser.add_argument("what", choices=WHAT, help="what to measure")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="where (default: the GPU if there is one)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: some minutes on two cores"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="what begins so",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write the result as JSON, and its pictures, there"
    )


def run(args: Namespace, console: Console) -> int:
    for option, those in TAKES.items():
        if getattr(args, option) and args.what not in those:
            raise UsageError(
                f"`bench {args.what}` takes no `--{option}`", f"`bench {those[0]}` does"
            )
    # Threads that spin while they wait slow each other down on shared cores; set before torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    result, table, pictures = _suite(args, console) if args.what == "suite" else _one(args, console)
    from attnlang.bench.files import save
    from attnlang.bench.timing import circumstances

    result |= {"circumstances": circumstances()}
    if args.out is not None:
        path = save(result, args.out)
        console.note(f"wrote {path}")
        for name, text in pictures.items():
            picture = path.with_name(f"{path.stem}-{name}.svg")
            picture.write_text(text, encoding="utf-8")
            console.note(f"wrote {picture}")
    if console.json:
        console.print_json(result)
    else:
        console.print(table)
    return 0


def _one(args: Namespace, console: Console) -> Measured:
    import importlib

    module = importlib.import_module(f"attnlang.bench.{args.what}")
    console.say("measuring; this takes a minute or so")
    match args.what:
        case "constant":
            result = module.run(_device(args))
        case "explain":
            result = module.run(args.only)
        case _:
            result = module.run()
    return result, module.table(result), {}


def _device(args: Namespace) -> str:
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("PyTorch sees no GPU here", "leave `--device` out")
    return args.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _suite(args: Namespace, console: Console) -> Measured:
    import tempfile

    # What compilers kept from an earlier run would make them look quick.
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)
        return _measured(args, console)


def _measured(args: Namespace, console: Console) -> Measured:
    import torch

    from attnlang.bench.suite import picture, run, table
    from attnlang.bench.suite.workload import Scale

    device = _device(args)
    scale: Scale = "quick" if args.quick else "cuda" if device == "cuda" else "cpu"
    chosen = run.steps(scale, args.only)
    if not chosen:
        names = ", ".join(w.name for w in run.WORKLOADS)
        raise UsageError(f"no workload begins with `{', '.join(args.only)}`", f"there are {names}")
    with steps([step.workload.name for step in chosen], console) as tell:
        result = run.run(torch.device(device), scale, chosen, tell)
    pictures = {name: picture.svg(result, name) for name in ("forward", "both")}
    return result, table.table(result), pictures
