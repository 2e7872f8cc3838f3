"""AL501: what is allowed, and probably not meant. Warnings: they fail nothing."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry
from attnlang.compiler.diagnostics.model import Severity

ENTRIES = (
    Entry(
        "AL501", "never used", "{what} is never used",
        "Something is declared and changes nothing: a parameter, an input, a `let`, a part or a step "
        "that is read nowhere, or a parameter that `require` alone reads. Often a condition was "
        "meant to read it.",
        "pattern p(window: int = 8):\n    over n\n    attend where 0 <= q.n - k.n < 8\n",
        "pattern p(window: int = 8):\n    over n\n    attend where 0 <= q.n - k.n < window\n",
        severity=Severity.WARNING,
    ),
)  # fmt: skip
