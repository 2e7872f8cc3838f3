"""The pattern that a command is about."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from attnlang.api import STDLIB_PREFIX, locate
from attnlang.cli.failures import UsageError
from attnlang.compiler.check import Module, check_pattern, open_module
from attnlang.compiler.diagnostics.suggest import nearest
from attnlang.compiler.source import Source
from attnlang.pattern import Pattern

STDIN = "-"


def open_target(target: str) -> tuple[Module, str | None]:
    """The file and the pattern's name in it (None: the only one).

    Raises PatternError, and UsageError where a choice is left open.
    """
    source, name = find(target)
    module = open_module(source)
    names = [p.name.id for p in module.tree.patterns]
    if name is None and len(names) > 1:
        chosen = ", ".join(f"{target}:{n}" for n in names)
        raise UsageError(f"`{target}` holds {len(names)} patterns", f"choose one: {chosen}")
    return module, name


def find(target: str) -> tuple[Source, str | None]:
    """The text behind a target. Raises PatternError (AL001, AL002, AL109)."""
    head, _, name = target.partition(":")
    if head == STDIN:
        return Source("<stdin>", sys.stdin.read()), name or None
    if target.isidentifier() and not Path(target).exists():
        from attnlang import stdlib

        if target in stdlib.names():  # `attnlang show causal` can only mean one thing
            return locate(STDLIB_PREFIX + target)
        best = nearest(target, stdlib.names())
        hint = f"did you mean `stdlib:{best}`?" if best else "`attnlang list` names the library's"
        raise UsageError(f"there is no file and no library pattern `{target}`", hint)
    return locate(target)


def files_of(given: str) -> list[str]:
    """The targets that a word names: itself, or every pattern file below a folder."""
    if given == STDIN or given.startswith(STDLIB_PREFIX) or not Path(given).is_dir():
        return [given]
    found = sorted(str(path) for path in Path(given).rglob("*.attn"))
    if not found:
        raise UsageError(f"there is no .attn file in `{given}`")
    return found


def load_target(target: str, parameters: Mapping[str, object]) -> Pattern:
    """The checked pattern. Raises PatternError with every mistake found."""
    module, name = open_target(target)
    return Pattern(module, check_pattern(module, name, parameters))
