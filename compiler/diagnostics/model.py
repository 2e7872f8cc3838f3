"""The diagnostic: one mistake, where it is, why it is one, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from attnlang.compiler.source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A span with a few words on what is there."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. ``primary`` is None when no text stands behind it (a missing file, say)."""

    code: str
    message: str
    primary: Label | None = None
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: Severity = Severity.ERROR

    @property
    def location(self) -> str:
        """``file:line:column`` of the primary label, or the empty string."""
        if self.primary is None:
            return ""
        span = self.primary.span
        return f"{span.source.name}:{span.begin.line}:{span.begin.column}"

    def __str__(self) -> str:
        where = f"{self.location}: " if self.primary else ""
        return f"{where}{self.severity}[{self.code}]: {self.message}"


class AttnlangError(Exception):
    """Base of every error attnlang raises on purpose."""


class PatternError(AttnlangError):
    """A pattern, or the values given to it, cannot be accepted.

    ``diagnostics`` holds every finding of the run, in source order.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from attnlang.compiler.diagnostics.render import render

        return "\n" + render(self.diagnostics, color=False)


class Unsupported(AttnlangError):
    """The requested backend cannot run this pattern; nothing else was tried in its place."""

    def __init__(self, feature: str, backend: str, alternative: str) -> None:
        self.feature, self.backend, self.alternative = feature, backend, alternative
        super().__init__(feature, backend, alternative)

    def __str__(self) -> str:
        return f"backend {self.backend!r} does not support {self.feature}; use {self.alternative}"
