"""``attnlang fmt``: pattern files in the one format."""

from __future__ import annotations

import difflib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attnlang.cli.console import Console
from attnlang.cli.parser import Parser
from attnlang.cli.target import STDIN, files_of
from attnlang.compiler.report.words import plural
from attnlang.compiler.source import Source
from attnlang.compiler.syntax.parse import parse, read_source
from attnlang.compiler.syntax.printer import format_module

SCHEMA = "attnlang.fmt/1"
DESCRIPTION = """Files are rewritten in place; a file that does not parse is left alone.
With - the text comes from standard input and goes to standard output."""
EXAMPLES = (
    "attnlang fmt window.attn",
    "attnlang fmt --check patterns/",
    "attnlang fmt --diff window.attn",
    "attnlang fmt - < window.attn",
)


@dataclass(frozen=True, slots=True)
class _Formatted:
    name: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> str:
        return "".join(
            difflib.unified_diff(
                self.before.splitlines(keepends=True),
                self.after.splitlines(keepends=True),
                self.name,
                self.name,
            )
        )


def configure(parser: Parser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .attn file, a folder, or -")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if a file would change"
    )
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; print what would change"
    )


def run(args: Namespace, console: Console) -> int:
    formatted = list(_format(args.files))
    changed = [f for f in formatted if f.changed]
    dry = args.check or args.diff
    if not dry:
        for f in changed:
            if f.name != STDIN:
                _replace(Path(f.name), f.after)
    if console.json:
        files = [{"file": f.name, "changed": f.changed} for f in formatted]
        console.print_json({"schema": SCHEMA, "written": not dry, "files": files})
    else:
        _tell(args, console, formatted, changed)
    return 1 if args.check and changed else 0


def _tell(
    args: Namespace, console: Console, formatted: list[_Formatted], changed: list[_Formatted]
) -> None:
    if args.diff:
        for f in changed:
            console.print(f.diff())
    elif args.check:
        for f in changed:
            console.print(f"would change: {f.name}")
    else:
        for f in formatted:
            if f.name == STDIN:
                console.print(f.after)
            elif f.changed:
                console.print(f"changed: {f.name}")
    if args.diff or args.check or any(f.name != STDIN for f in formatted):
        done = "would change" if args.diff or args.check else "changed"
        console.say(f"{plural(len(changed), 'file')} {done}, {len(formatted) - len(changed)} fine")


def _format(given: list[str]) -> Iterator[_Formatted]:
    """Every file, read and formatted before any is written. Raises PatternError."""
    for name in (target for word in given for target in files_of(word)):
        if name == STDIN:
            source = Source("<stdin>", sys.stdin.read())
        else:
            source = read_source(Path(name))
        yield _Formatted(name, source.text, format_module(parse(source)))


def _replace(path: Path, text: str) -> None:
    """The whole file or none of it: written beside, then renamed over."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(path.stat().st_mode)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
