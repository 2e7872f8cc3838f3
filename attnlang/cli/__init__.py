"""The command line: ``attnlang check``, ``explain``, ``show`` and the others.

Data goes to stdout, words for people to stderr. Exit codes: 0 fine, 1 a pattern is wrong (or
two differ), 2 the command is, 3 attnlang is.
"""

from __future__ import annotations

from attnlang.cli.app import main

__all__ = ["main"]
