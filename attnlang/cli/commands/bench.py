"""``attnlang bench``: measurements; they never pass or fail."""

from __future__ import annotations

import os
from argparse import Namespace

from attnlang.cli.console import Console
from attnlang.cli.parser import Parser

DESCRIPTION = """`plan` measures how long planning takes and how much of what is visited is needed;
`op` measures the blocked backend beside PyTorch's attention with the same mask; `memory` measures
what the blocked backend takes on sequences of up to 262144 tokens; `linear` measures what a token
of linear attention costs in sequences of 8192 to 524288."""
EXAMPLES = ("attnlang bench plan", "attnlang bench op --json > op.json")


def configure(parser: Parser) -> None:
    parser.add_argument("what", choices=("plan", "op", "memory", "linear"), help="what to measure")


def run(args: Namespace, console: Console) -> int:
    console.say("measuring; this takes a minute or so")
    if args.what == "plan":
        from attnlang.bench import plan

        result = plan.run()
        text = plan.table(result)
    elif args.what == "memory":
        from attnlang.bench import memory

        result = memory.run()
        text = memory.table(result)
    elif args.what == "linear":
        from attnlang.bench import linear

        result = linear.run()
        text = linear.table(result)
    else:
        # Threads that spin while they wait slow each other down on shared cores; set before torch.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from attnlang.bench import op

        result = op.run()
        text = op.table(result)
    if console.json:
        from attnlang.bench.timing import circumstances

        console.print_json({**result, "circumstances": circumstances()})
    else:
        console.print(text)
    return 0
