"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from attnlang.cli.failures import UsageError
from attnlang.cli.parser import Parser

Value: TypeAlias = "int | float | bool | str | tuple[Value, ...]"

TARGET = "stdlib:NAME, FILE.attn, FILE.attn:NAME, or - for standard input"


def add_target(parser: Parser, name: str = "target") -> None:
    parser.add_argument(name, metavar=name.upper(), help=f"the pattern: {TARGET}")


def add_parameters(parser: Parser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="parameters",
        help="value of a parameter: 8, 0.5, true, a choice's name, or one for each axis: 5,7",
    )  # fmt: skip


def add_sizes(parser: Parser, *, heads: int | None = 1) -> None:
    parser.add_argument(
        "--size", action="append", default=[], metavar="AXIS=LENGTH", dest="sizes",
        help="length of an axis, or of a prefix or suffix; q.n and k.n where the sides differ",
    )  # fmt: skip
    shown = "1" if heads is not None else "4 where heads differ, else 1"
    parser.add_argument(
        "--heads", type=positive, default=heads, metavar="H", help=f"query heads (default: {shown})"
    )
    parser.add_argument(
        "--kv-heads", type=positive, metavar="H", help="key heads (default: as many)"
    )
    parser.add_argument(
        "--head-dim", type=positive, default=64, metavar="D", help="width of a head (default: 64)"
    )


def add_inputs(parser: Parser) -> None:
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=VALUES", dest="inputs",
        help="a run-time tensor: 0,0,1,1 or 0*8,1*4 (repeats), or @file.npy or @file.json",
    )  # fmt: skip


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    number = whole(text)
    if number is None or number < 1:
        raise ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return number


def whole(text: str) -> int | None:
    """``131072`` or ``131_072``; None for anything else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", text) else None


def sizes_of(args: Namespace) -> dict[str, int]:
    """Lengths by name. Raises UsageError."""
    sizes: dict[str, int] = {}
    for text in args.sizes:
        name, value = _assignment(text, "--size n=1024")
        number = whole(value)
        if number is None or number < 0:
            raise UsageError(f"a length is a whole number, not `{value}` (in `--size {text}`)")
        sizes[name] = number
    return sizes


def parameters_of(args: Namespace) -> dict[str, Value]:
    """Parameter values by name. Raises UsageError."""
    found: dict[str, Value] = {}
    for text in args.parameters:
        name, written = _assignment(text, "--set window=8")
        found[name] = value(written)
    return found


def inputs_of(args: Namespace) -> dict[str, str]:
    """Run-time tensors by name, as they are written. Raises UsageError."""
    return dict(_assignment(text, "--input doc=0,0,1,1") for text in args.inputs)


def value(text: str) -> Value:
    """A parameter's value: a number, a truth value, a name, or several with commas between.

    >>> value("8"), value("0.5"), value("true"), value("wrap"), value("5,7"), value("(5, 7)")
    (8, 0.5, True, 'wrap', (5, 7), (5, 7))
    """
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    if "," in text:
        return tuple(value(part) for part in text.split(",") if part.strip())
    if text in ("true", "false"):
        return text == "true"
    number = whole(text)
    if number is not None:
        return number
    try:
        return float(text)
    except ValueError:
        return text


def tile_of(text: str | None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Extents of the query and key tiles: ``16``, ``8,8`` or ``16:8``. Raises UsageError.

    >>> tile_of("8,8"), tile_of("16:8")
    (((8, 8), (8, 8)), ((16,), (8,)))
    """
    if text is None:
        return None
    sides = [re.split(r"[,x×]", side) for side in text.split(":")]
    shapes = [tuple(whole(x.strip()) or 0 for x in side) for side in sides]
    if len(shapes) > 2 or any(x < 1 for shape in shapes for x in shape):
        raise UsageError(f"`{text}` is no tile", "write 16, or 8,8 for two axes, or QUERY:KEY")
    return shapes[0], shapes[-1]


def output(path: str, suffixes: Sequence[str]) -> Path:
    """A file to write, with one of the suffixes. Raises UsageError."""
    found = Path(path)
    if found.suffix.lower() not in suffixes:
        raise UsageError(f"cannot write `{path}`: it must end in {' or '.join(suffixes)}")
    return found


def _assignment(text: str, example: str) -> tuple[str, str]:
    name, equals, written = text.partition("=")
    if not equals or not name.strip() or not written.strip():
        raise UsageError(f"`{text}` is not NAME=VALUE", f"for example: {example}")
    return name.strip(), written.strip()
