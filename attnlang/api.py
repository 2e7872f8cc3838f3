"""Finding patterns: in the standard library, in files, in text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnlang.compiler.check import check_pattern, open_module
from attnlang.compiler.source import Source
from attnlang.compiler.syntax.parse import read_source
from attnlang.pattern import Pattern

if TYPE_CHECKING:
    from attnlang.op import AttentionOp

STDLIB_PREFIX = "stdlib:"


def load(reference: str | Path, **params: object) -> Pattern:
    """A pattern from the standard library or a file, with parameter values.

    >>> load("stdlib:sliding_window", window=512).params
    {'window': 512, 'sinks': 0}

    reference: ``"stdlib:name"``, ``"file.attn"`` or ``"file.attn:name"``; one attention of a
    program is ``"stdlib:name.step"``.
    Raises PatternError with every mistake in the file and the values.
    """
    source, name = locate(str(reference))
    module = open_module(source)
    return Pattern(module, check_pattern(module, name, params))


def locate(reference: str) -> tuple[Source, str | None]:
    """The text a reference names, and the pattern in it (None: the only one)."""
    if reference.startswith(STDLIB_PREFIX):
        from attnlang import stdlib

        name = reference.removeprefix(STDLIB_PREFIX)
        return stdlib.source(name.partition(".")[0]), name
    path, _, name = reference.rpartition(":")
    if path.endswith(".attn") and name.partition(".")[0].isidentifier():
        return read_source(Path(path)), name
    return read_source(Path(reference)), None


def parse(
    text: str, name: str | None = None, *, filename: str = "<text>", **params: object
) -> Pattern:
    """A pattern from source text; ``name`` chooses one when the text has several.

    >>> parse("pattern p:\\n    over n\\n    attend where k.n <= q.n\\n").axes
    ('n',)
    """
    module = open_module(Source(filename, text))
    return Pattern(module, check_pattern(module, name, params))


def compile(
    pattern: str | Path | Pattern,
    *,
    backend: str = "auto",
    scale: float | None = None,
    **params: object,
) -> AttentionOp:
    """The op of a pattern: ``load(pattern, **params).compile(backend)``."""
    if isinstance(pattern, Pattern):
        loaded = pattern.with_params(**params) if params else pattern
    else:
        loaded = load(pattern, **params)
    return loaded.compile(backend, scale=scale)
