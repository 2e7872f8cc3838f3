"""What went wrong, in one form for people and one for programs, and the exit code it means."""

from __future__ import annotations

import os
import traceback

from attnlang.cli.console import Console
from attnlang.compiler.diagnostics.formats import to_json
from attnlang.compiler.diagnostics.model import AttnlangError, PatternError

PATTERN, USAGE, INTERNAL = 1, 2, 3
SCHEMA = "attnlang.error/1"


class UsageError(Exception):
    """The command line asks for something that cannot be; ``help`` says what can."""

    def __init__(self, message: str, help: str | None = None) -> None:
        self.message, self.help = message, help
        super().__init__(message)


def exit_code(error: Exception, console: Console) -> int:
    """Tell of an exception and give the exit code for it."""
    match error:
        case PatternError():
            if console.json:
                console.print_json(to_json(error.diagnostics))
            else:
                console.show(error.diagnostics)
            return PATTERN
        case UsageError():
            return _tell(console, USAGE, "usage", error.message, error.help)
        case AttnlangError():
            return _tell(console, PATTERN, "pattern", str(error), None)
        case OSError():
            name = f" {error.filename}" if error.filename else ""
            return _tell(console, USAGE, "file", f"{error.strerror or error}:{name}", None)
        case _:
            return _internal(error, console)


def _tell(console: Console, code: int, kind: str, message: str, help: str | None) -> int:
    if console.json:
        error = {"kind": kind, "message": message, "help": help}
        console.print_json({"schema": SCHEMA, "error": error})
    else:
        console.say(f"error: {message}")
        if help:
            console.say(f"  = help: {help}")
    return code


def _internal(error: Exception, console: Console) -> int:
    if os.environ.get("ATTNLANG_DEBUG"):
        console.say("".join(traceback.format_exception(error)).rstrip())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    help = "this is a mistake in attnlang: please report it, with what you ran"
    if not os.environ.get("ATTNLANG_DEBUG"):
        help += " and what ATTNLANG_DEBUG=1 prints"
    return _tell(console, INTERNAL, "internal", what, help)
