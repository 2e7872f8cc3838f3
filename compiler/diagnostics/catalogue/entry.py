"""One entry of the error catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnlang.compiler.diagnostics.model import Severity


@dataclass(frozen=True, slots=True)
class Entry:
    """A mistake the compiler can explain.

    template: the message, its holes filled by the place that reports it.
    wrong, right: a whole ``.attn`` text that has the mistake, and the same one mended;
    tests check that the first raises exactly this code and the second nothing.
    call: parameter values or sizes the wrong text is used with, where the mistake is in those.
    """

    code: str
    title: str
    template: str
    explanation: str
    wrong: str = ""
    right: str = ""
    call: Mapping[str, object] = field(default_factory=dict)
    severity: Severity = Severity.ERROR
