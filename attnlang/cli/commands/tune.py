"""``attnlang tune``: the fastest choices of a pattern's kernels, measured and kept."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attnlang.cli.commands.compile import refuse
from attnlang.cli.console import Console
from attnlang.cli.draws import draw_inputs, draw_tensors, generator, tensor_of
from attnlang.cli.failures import UsageError
from attnlang.cli.options import (
    add_inputs,
    add_parameters,
    add_sizes,
    add_target,
    inputs_of,
    parameters_of,
    positive,
    sizes_of,
)
from attnlang.cli.parser import Parser
from attnlang.cli.sizing import demand_sizes
from attnlang.cli.target import load_target
from attnlang.cli.tensors import lengths_of, on_grid, read_tensors
from attnlang.compiler.problem.steps import problem_of
from attnlang.pattern import Pattern

if TYPE_CHECKING:
    from attnlang.backends.triton.tune import Session

DESCRIPTION = """Runs a pattern forward and backward on random tensors and measures each of its
kernels with every tile, number of warps and number of stages that may be the fastest. Those that do
not fit the machine are dropped, and those that spill registers where others do not. The fastest is
kept beside the generated modules (in $ATTNLANG_CACHE, else the user's cache), and later launches of
the same kernels at like lengths take it."""
EXAMPLES = (
    "attnlang tune stdlib:causal --size n=8192 --heads 32 --head-dim 128",
    "attnlang tune stdlib:sliding_window --size n=65536 --heads 16 --dtype fp16 --seconds 30",
)
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def configure(parser: Parser) -> None:
    add_target(parser)
    add_sizes(parser)
    add_parameters(parser)
    add_inputs(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="B", help="default: 1")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="default: bf16")
    parser.add_argument(
        "--seconds", type=positive, default=120, metavar="S",
        help="begin no measurement after so many (default: 120)",
    )  # fmt: skip


def run(args: Namespace, console: Console) -> int:
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "there is no GPU here to measure on",
            "attnlang compile --target compiles kernels for a GPU elsewhere",
        )
    pattern = load_target(args.target, parameters_of(args))
    refuse("triton", pattern)
    tensors = read_tensors(inputs_of(args), pattern.ir)
    sizes = {**lengths_of(tensors, pattern.ir), **sizes_of(args)}
    demand_sizes(pattern.ir, sizes)
    given = on_grid(tensors, sizes, pattern.ir)
    session = tune(pattern, sizes, args, given, "cuda", console.say)
    found = [asdict(x) for x in session.results]
    if console.json:
        console.print_json({"pattern": pattern.name, "sizes": sizes, "kernels": found})
    else:
        console.print("\n".join(x.line for x in session.results) or "nothing was measured")
    return 0


def tune(
    pattern: Pattern, sizes: Mapping[str, int], args: Namespace, given: Mapping[str, Any],
    device: str, tell: Callable[[str], None],
    measure: Callable[[Callable[[], Any]], float] | None = None,
) -> Session:  # fmt: skip
    """Every kernel of a call and of its gradients, measured on random tensors."""
    import torch

    from attnlang.backends.triton.tune import tuning

    source = generator()
    problem = problem_of(
        pattern.ir, sizes, heads=args.heads, kv_heads=args.kv_heads, head_dim=args.head_dim
    )
    dtype = getattr(torch, DTYPES[args.dtype])
    drawn = draw_tensors(problem, args.head_dim, source, args.batch)
    leaves = [x.to(device, dtype).requires_grad_() for x in drawn]
    inputs = {n: tensor_of(x) for n, x in given.items()}
    inputs |= draw_inputs(problem, inputs, source)
    inputs = {n: _moved(x, device) for n, x in inputs.items()}
    op = pattern.compile("triton")
    with tuning(args.seconds, tell, measure) as session:
        out, _ = op.pair(leaves[0], leaves[1], leaves[2], sizes, None, 0, False, inputs)
        torch.autograd.grad(out.sum(), leaves, allow_unused=True)
    return session


def _moved(x: Any, device: str) -> Any:
    return tuple(_moved(y, device) for y in x) if isinstance(x, tuple) else x.to(device)
