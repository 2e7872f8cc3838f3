"""What an untrusted text may ask for. Every bound has a diagnostic of its own."""

MAX_BYTES = 1 << 18
"""Size of one ``.attn`` text."""

MAX_BRACKETS = 64
"""Open brackets at any place of the text (AL005)."""

MAX_DEPTH = 120
"""Levels of the syntax tree (AL005)."""

MAX_INTEGER = 2**31 - 1
"""Largest integer literal and largest axis length (AL006, AL406)."""

MAX_NODES = 20_000
"""Expression nodes of one pattern after functions and lets are put in place (AL007)."""

MAX_STEPS = 200_000
"""Expression nodes read in one run, each function body once for every call of it (AL007)."""

MAX_LEVELS = 150
"""Expressions inside expressions as they are read, called functions included (AL007)."""

MAX_COPIES = 64
"""How often a ``for`` repeats its statements (AL316)."""
