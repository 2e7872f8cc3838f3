"""From the words of a command line to a command and its exit code."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Protocol, cast

from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError, exit_code
from attnlang.cli.parser import Parser
from attnlang.compiler.diagnostics.suggest import did_you_mean

COMMANDS = {
    "check": "find every mistake in pattern files",
    "explain": "what a pattern costs and promises, or what an error code means",
    "show": "a picture of which pairs attend, or of the tiles",
    "list": "the patterns of the standard library",
    "fmt": "put pattern files in the one format",
    "new": "start a pattern file",
    "diff": "do two patterns attend the same pairs?",
    "compile": "write a plan and its manifest to a directory",
    "tune": "choose the fastest tiles of a pattern's kernels, on the GPU that is here",
    "bench": "measure planning, or attention against PyTorch's",
}
"""Name and summary. Each is a module of attnlang.cli.commands, imported when it is asked for."""

_EXAMPLES = """examples:
  attnlang list
  attnlang show stdlib:sliding_window
  attnlang explain stdlib:sliding_window --size n=131072 --heads 32 --head-dim 128
  attnlang new my_pattern && attnlang check my_pattern.attn

`attnlang COMMAND --help` has more. Exit codes: 0 fine, 1 a pattern is wrong, 2 the command is,
3 attnlang is."""


class Command(Protocol):
    """A module of attnlang.cli.commands."""

    DESCRIPTION: str
    EXAMPLES: tuple[str, ...]

    def configure(self, parser: Parser) -> None:
        """Add the command's arguments."""

    def run(self, args: Namespace, console: Console) -> int:
        """Do it; the exit code. Raises UsageError and AttnlangError."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own); the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console.standard(words)
    try:
        code = _dispatch(words, console)
        console.out.flush()  # here, where a reader that is gone can still be noticed
        return code
    except SystemExit as done:  # argparse, after --help
        return done.code if isinstance(done.code, int) else 0
    except KeyboardInterrupt:
        console.say("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return exit_code(error, console)


def _dispatch(words: list[str], console: Console) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[1] in COMMANDS:
            return _run(words[1], ["--help"], console)
        console.print(_overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from attnlang import __version__

        console.print(f"attnlang {__version__}")
        return 0
    if words[0] not in COMMANDS:
        what = "option" if words[0].startswith("-") else "command"
        hint = did_you_mean(words[0], COMMANDS)
        raise UsageError(f"there is no {what} `{words[0]}`", hint or "`attnlang --help` lists them")
    return _run(words[0], words[1:], console)


def _run(name: str, words: list[str], console: Console) -> int:
    module = importlib.import_module(f"attnlang.cli.commands.{name}")
    command = cast(Command, module)
    parser = Parser(name, COMMANDS[name], command.DESCRIPTION, command.EXAMPLES)
    command.configure(parser)
    args = parser.read(words)
    return command.run(args, console.configured(args))


def _overview() -> str:
    from attnlang import __version__

    listed = "\n".join(f"  {name:<9} {summary}" for name, summary in COMMANDS.items())
    return (
        f"attnlang {__version__}: say which pairs attend; the compiler does the rest\n\n"
        f"usage: attnlang COMMAND ...\n\n{listed}\n\n{_EXAMPLES}"
    )
