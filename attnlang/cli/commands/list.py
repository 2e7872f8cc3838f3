"""``attnlang list``: the patterns of the standard library."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from attnlang import stdlib
from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.parser import Parser
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.report.words import parameter, plural
from attnlang.stdlib_info import PatternInfo, pattern_info

SCHEMA = "attnlang.list/1"
DESCRIPTION = "Use one as stdlib:NAME, with --set for its parameters."
EXAMPLES = (
    "attnlang list",
    "attnlang list --family neighborhoods",
    "attnlang list --json | jq '.patterns[].name'",
)


def configure(parser: Parser) -> None:
    parser.add_argument("--family", help="only the patterns of one family")


def run(args: Namespace, console: Console) -> int:
    families = tuple(dict.fromkeys(stdlib.family(name) for name in stdlib.names()))
    if args.family is not None and args.family not in families:
        raise UsageError(f"there is no family `{args.family}`", did_you_mean(args.family, families))
    wanted = [args.family] if args.family else list(families)
    infos = [pattern_info(n) for n in stdlib.names() if stdlib.family(n) in wanted]
    if console.json:
        console.print_json({"schema": SCHEMA, "patterns": [_data(i) for i in infos]})
        return 0
    columns = zip(*map(_row, infos), strict=True)
    widths = [max(len(cell) for cell in column) for column in columns]
    for family in wanted:
        console.print(f"{family}")
        for info in infos:
            if info.family == family:
                cells = zip(_row(info), widths, strict=True)
                line = "  " + "  ".join(c.ljust(w) for c, w in cells).rstrip()
                room = console.width if console.out.isatty() else len(line)
                console.print(line if len(line) <= room else f"{line[: room - 1]}…")
        console.print("")
    console.print(f"{plural(len(infos), 'pattern')}; see one: attnlang show stdlib:{infos[0].name}")
    return 0


def _row(info: PatternInfo) -> tuple[str, ...]:
    params = " ".join(
        n if p.default is None else f"{n}={parameter(p.default)}" for n, p in info.params.items()
    )
    inputs = " ".join(f"<{name}>" for name in info.inputs)
    paper = f"{info.paper or ''}{f', {info.year}' if info.year else ''}"
    return (
        info.name,
        ",".join(info.axes),
        " ".join(x for x in (params, inputs) if x),
        info.fidelity or "",
        paper,
    )


def _data(info: PatternInfo) -> dict[str, Any]:
    params = {
        name: {
            "type": p.type,
            "default": list(p.default) if isinstance(p.default, tuple) else p.default,
        }
        for name, p in info.params.items()
    }
    return {
        "name": info.name,
        "family": info.family,
        "doc": info.doc,
        "paper": info.paper,
        "year": info.year,
        "arxiv": info.arxiv,
        "fidelity": info.fidelity,
        "params": params,
        "inputs": dict(info.inputs),
        "axes": list(info.axes),
        "backends": list(info.backends),
    }
