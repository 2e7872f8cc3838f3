"""``attnlang new``: start a pattern file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.options import output
from attnlang.cli.parser import Parser
from attnlang.cli.starter import starter
from attnlang.compiler.sema.patterns import MAX_AXES
from attnlang.compiler.sema.scope import RESERVED

SCHEMA = "attnlang.new/1"
DESCRIPTION = "The new file holds a working pattern, with a comment on every part."
EXAMPLES = (
    "attnlang new my_window",
    "attnlang new my_image --axes y,x",
    "attnlang new my_video --axes t,y,x --out patterns/video.attn",
    "attnlang new my_window --out -",
)


def configure(parser: Parser) -> None:
    parser.add_argument("name", help="of the pattern")
    parser.add_argument("--axes", default="n", help="of its tokens, at most three (default: n)")
    parser.add_argument("--out", metavar="FILE", help="default: NAME.attn; - is standard output")


def run(args: Namespace, console: Console) -> int:
    axes = [a.strip() for a in args.axes.split(",")]
    for name in (args.name, *axes):
        if not (name.isascii() and name.isidentifier()):
            raise UsageError(f"`{name}` is not a name", "letters, digits and _, no digit first")
        if name in RESERVED or name == "index":
            raise UsageError(f"`{name}` has a meaning of its own in the language")
    if len(axes) > MAX_AXES:
        raise UsageError(f"{len(axes)} axes; at most {MAX_AXES} are possible")
    if len({*axes, args.name}) <= len(axes):
        raise UsageError("the pattern and its axes need names that differ")
    text = starter(args.name, axes)
    if args.out == "-":
        path = None
    else:
        path = output(args.out, (".attn",)) if args.out else Path(f"{args.name}.attn")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(f"`{path}` exists already", "choose another with --out") from None
    if console.json:
        shown = None if path is None else str(path)
        console.print_json({"schema": SCHEMA, "pattern": args.name, "out": shown, "text": text})
    elif path is None:
        console.print(text)
    else:
        console.print(f"wrote {path}")
        console.say(f"next: attnlang show {path}")
    return 0
