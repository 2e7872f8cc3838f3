"""The standard library: one ``.attn`` file per paper pattern, in family folders."""

from __future__ import annotations

import functools
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.source import Source

if TYPE_CHECKING:
    from attnlang.stdlib_info import PatternInfo

__all__ = ["info", "names", "source"]


@functools.cache
def _files() -> dict[str, tuple[str, Traversable]]:
    """Pattern id -> (family, file)."""
    found: dict[str, tuple[str, Traversable]] = {}
    for family in sorted(resources.files(__name__).iterdir(), key=lambda f: f.name):
        if family.is_dir() and not family.name.startswith("_"):
            for file in sorted(family.iterdir(), key=lambda f: f.name):
                if file.name.endswith(".attn"):
                    found[file.name.removesuffix(".attn")] = (family.name, file)
    return found


def names() -> tuple[str, ...]:
    """The ids of all patterns, by family and name."""
    return tuple(_files())


def family(name: str) -> str:
    """The folder a pattern lives in."""
    return _files()[name][0]


def source(name: str) -> Source:
    """The text of one pattern. Raises PatternError (AL109) for an unknown id."""
    if name not in _files():
        raise failure(
            "AL109",
            None,
            name="the standard library",
            pattern=name,
            help=did_you_mean(name, names()),
        )
    folder, file = _files()[name]
    return Source(f"stdlib/{folder}/{file.name}", file.read_text(encoding="utf-8"))


def info(name: str) -> PatternInfo:
    """Paper, parameters, inputs, backends and fidelity of one pattern."""
    from attnlang.stdlib_info import pattern_info

    return pattern_info(name)
