"""Where a command writes: data to one stream, words for people to the other."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from attnlang.compiler.diagnostics.model import Diagnostic
from attnlang.compiler.diagnostics.render import render

MODES = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class Console:
    """json: is everything on ``out`` one JSON object? color: when to use colours, as asked."""

    out: TextIO
    err: TextIO
    json: bool = False
    color: str = "auto"

    @classmethod
    def standard(cls, words: Sequence[str]) -> Console:
        """The process's streams, with what can be told before the words are parsed."""
        return cls(sys.stdout, sys.stderr, json="--json" in words)

    def configured(self, args: Namespace) -> Console:
        """The console as a command's own arguments want it."""
        return replace(self, json=args.json, color=args.color)

    def print(self, text: str) -> None:
        """A piece of the command's result."""
        self.out.write(text if text.endswith("\n") else text + "\n")

    def print_json(self, data: Mapping[str, Any]) -> None:
        """The whole result, as data."""
        self.print(json.dumps(data, indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """A word to the person at the terminal."""
        self.err.write(text + "\n")

    def note(self, text: str) -> None:
        self.say(f"note: {text}")

    def show(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Findings, for people."""
        self.say(render(diagnostics, color=self.colours(self.err)))

    def colours(self, stream: TextIO) -> bool:
        """Are colours wanted, and will this stream show them?"""
        if self.color != "auto":
            return self.color == "always"
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return stream.isatty() and not plain

    @property
    def width(self) -> int:
        """Columns of the terminal; 100 where there is none."""
        return shutil.get_terminal_size((100, 40)).columns
