"""``attnlang explain``: a pattern's costs and promises, or the meaning of an error code."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.options import (
    add_inputs,
    add_parameters,
    add_sizes,
    inputs_of,
    parameters_of,
    sizes_of,
)
from attnlang.cli.parser import Parser
from attnlang.compiler.diagnostics.catalogue import CATALOGUE, Entry

SCHEMA = "attnlang.code/1"
DESCRIPTION = """Of a pattern at one size: density, FLOPs, tiles, memory, what is proved of it, and
how all that grows with the length. Everything is counted before anything runs.
Of an error code: why it is a mistake, and a text with it and without."""
EXAMPLES = (
    "attnlang explain AL306",
    "attnlang explain stdlib:sliding_window --size n=131072 --heads 32 --head-dim 128",
    "attnlang explain stdlib:neighborhood_2d --size y=64 --size x=64 --set window=7,9 --json",
    "attnlang explain stdlib:lca_causal_document --size n=4096 --input doc=0*1000,1*3096",
)


def configure(parser: Parser) -> None:
    parser.add_argument("target", help="a pattern (see `attnlang show --help`), or a code as AL306")
    add_sizes(parser)
    add_parameters(parser)
    add_inputs(parser)


def run(args: Namespace, console: Console) -> int:
    if re.fullmatch(r"[A-Za-z]{2}\d+", args.target):
        return _code(args.target.upper(), console)
    from attnlang.cli.sizing import demand_sizes
    from attnlang.cli.target import load_target
    from attnlang.cli.tensors import lengths_of, on_grid, read_tensors
    from attnlang.explain import explain

    pattern = load_target(args.target, parameters_of(args))
    tensors = read_tensors(inputs_of(args), pattern.ir)
    sizes = {**lengths_of(tensors, pattern.ir), **sizes_of(args)}
    demand_sizes(pattern.ir, sizes)
    found = explain(
        pattern,
        sizes,
        args.heads,
        args.head_dim,
        on_grid(tensors, sizes, pattern.ir),
        kv_heads=args.kv_heads,
    )
    if console.json:
        console.print_json(found.to_dict())
    else:
        console.print(str(found))
    return 0


def _code(code: str, console: Console) -> int:
    entry = CATALOGUE.get(code)
    if entry is None:
        known = f"codes go from {min(CATALOGUE)} to {max(CATALOGUE)}, with gaps"
        raise UsageError(f"there is no error code `{code}`", known)
    if console.json:
        console.print_json(_data(entry))
    else:
        console.print(_text(entry))
    return 0


def _data(entry: Entry) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "code": entry.code,
        "severity": str(entry.severity),
        "title": entry.title,
        "explanation": entry.explanation,
        "wrong": entry.wrong or None,
        "right": entry.right or None,
        "call": dict(entry.call),
    }


def _text(entry: Entry) -> str:
    import textwrap

    parts = [f"{entry.code}: {entry.title}", textwrap.fill(entry.explanation, 92)]
    given = ", ".join(f"{name}={value!r}" for name, value in entry.call.items())
    for word, text in (("wrong", entry.wrong), ("right", entry.right)):
        if text:
            with_call = f" (with {given})" if given and word == "wrong" else ""
            parts.append(
                f"{word}{with_call}:\n\n{textwrap.indent(_visible(text).rstrip(), '    ')}"
            )
    return "\n\n".join(parts)


def _visible(text: str) -> str:
    """Control characters, which some of the wrong examples are about, shown by their number."""
    return "".join(c if c.isprintable() or c == "\n" else f"<U+{ord(c):04X}>" for c in text)
