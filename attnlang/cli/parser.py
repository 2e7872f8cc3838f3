"""The parser of one command: argparse, with mistakes as errors and help with examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from attnlang.cli.console import MODES
from attnlang.cli.failures import UsageError
from attnlang.compiler.diagnostics.suggest import nearest


class Parser(argparse.ArgumentParser):
    """Every command takes ``--json`` and ``--color`` besides its own arguments."""

    def __init__(self, name: str, summary: str, description: str, examples: Sequence[str]) -> None:
        shown = "\n".join(f"  {example}" for example in examples)
        super().__init__(
            prog=f"attnlang {name}",
            description=f"{summary[0].upper()}{summary[1:]}.\n\n{description}".strip(),
            epilog=f"examples:\n{shown}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments. Raises UsageError for words that fit nothing."""
        self.add_argument("--json", action="store_true", help="the result as JSON on stdout")
        self.add_argument("--color", choices=MODES, default="auto", help="when to use colours")
        args, rest = self.parse_known_args(list(words))
        if rest:
            known = [s for action in self._actions for s in action.option_strings]
            best = nearest(rest[0].partition("=")[0], known)
            hint = f"did you mean `{best}`?" if best else f"see `{self.prog} --help`"
            raise UsageError(f"`{self.prog}` takes no `{rest[0]}`", hint)
        return args

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")
