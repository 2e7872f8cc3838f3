"""Collecting diagnostics: a stage reports what it finds and goes on; the driver raises once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.diagnostics.model import Diagnostic, Label, PatternError, Severity
from attnlang.compiler.source import Span

MAX_ERRORS = 50
"""More than this many mistakes in one run help nobody; the rest is dropped."""
_LONGEST_FIELD = 120


def diagnostic(
    code: str,
    span: Span | None,
    label: str = "",
    *,
    secondary: tuple[Label, ...] = (),
    notes: tuple[str, ...] = (),
    help: str | None = None,
    **fields: object,
) -> Diagnostic:
    """A diagnostic: the catalogue's template for ``code`` filled with ``fields``."""
    entry = CATALOGUE[code]
    shown = {name: _short(value) for name, value in fields.items()}
    return Diagnostic(
        code=code,
        message=entry.template.format(**shown),
        primary=Label(span, label) if span is not None else None,
        secondary=secondary,
        notes=notes,
        help=help,
        severity=entry.severity,
    )


def _short(value: object) -> str:
    """A field on one line: it may quote a text of any length."""
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_FIELD else text[: _LONGEST_FIELD - 3] + "..."


def failure(code: str, span: Span | None, label: str = "", **rest: object) -> PatternError:
    """The exception for a single mistake that leaves nothing to go on with."""
    return PatternError((diagnostic(code, span, label, **rest),))  # type: ignore[arg-type]


@dataclass(slots=True)
class Report:
    """The mistakes found so far."""

    found: list[Diagnostic] = field(default_factory=list)
    steps: int = 0
    """How many expression nodes the run has read: what bounds the cost of hostile texts."""
    levels: int = 0
    """How many of them are being read, each inside the one before."""

    def add(self, code: str, span: Span | None, label: str = "", **rest: object) -> None:
        """Record one mistake, once: the same code at the same place is not repeated."""
        new = diagnostic(code, span, label, **rest)  # type: ignore[arg-type]
        if not self.full and not any(
            old.code == new.code and old.location == new.location and old.message == new.message
            for old in self.found
        ):
            self.found.append(new)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.found)

    @property
    def full(self) -> bool:
        return len(self.found) >= MAX_ERRORS

    @property
    def errors(self) -> int:
        return sum(d.severity is Severity.ERROR for d in self.found)

    def raise_if_errors(self) -> None:
        """Raise :class:`PatternError` with all findings, in source order, if any is an error."""
        if self.errors:
            raise PatternError(sorted(self.found, key=_order))


def _order(d: Diagnostic) -> tuple[str, int]:
    return (d.primary.span.source.name, d.primary.span.start) if d.primary else ("", -1)
