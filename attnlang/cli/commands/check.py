"""``attnlang check``: every mistake in pattern files, with its place and how to mend it."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass

from attnlang.cli.console import Console
from attnlang.cli.options import TARGET
from attnlang.cli.parser import Parser
from attnlang.cli.target import files_of, find
from attnlang.compiler.check import check_module, open_module
from attnlang.compiler.diagnostics.formats import to_json, to_sarif
from attnlang.compiler.diagnostics.model import Diagnostic, PatternError, Severity
from attnlang.compiler.report.words import plural

SCHEMA = "attnlang.check/1"
DESCRIPTION = "All mistakes of all files are reported in one run. Nothing is planned or run."
EXAMPLES = (
    "attnlang check window.attn",
    "attnlang check patterns/ stdlib:sliding_window",
    "cat window.attn | attnlang check -",
    "attnlang check --format sarif patterns/ > findings.sarif",
)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found in one file; the names of what it declares, where it could be read."""

    name: str
    patterns: tuple[str, ...]
    functions: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def good(self) -> bool:
        return all(d.severity is not Severity.ERROR for d in self.diagnostics)


def configure(parser: Parser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"{TARGET}, or a folder")
    parser.add_argument(
        "--format", choices=("text", "json", "sarif"), default="text", help="of the findings"
    )


def run(args: Namespace, console: Console) -> int:
    checked = [_check(target) for given in args.files for target in files_of(given)]
    found = [d for c in checked for d in c.diagnostics]
    good = all(c.good for c in checked)
    if args.format == "sarif":
        console.print(json.dumps(to_sarif(found), indent=2, ensure_ascii=False))
    elif console.json or args.format == "json":
        files = [
            {"file": c.name, "ok": c.good, "patterns": c.patterns, "functions": c.functions}
            for c in checked
        ]
        records = to_json(found)["diagnostics"]
        console.print_json({"schema": SCHEMA, "ok": good, "files": files, "diagnostics": records})
    else:
        if found:
            console.show(found)
        for c in checked:
            if c.good:
                console.print(f"ok: {_declared(c)} in {c.name}")
    return 0 if good else 1


def _check(target: str) -> _Checked:
    name = target
    try:
        source, _ = find(target)
        name = source.name
        module = open_module(source)
    except PatternError as error:
        return _Checked(name, (), (), error.diagnostics)
    tree = module.tree
    return _Checked(
        name,
        tuple(p.name.id for p in tree.patterns),
        tuple(f.name.id for f in tree.functions),
        check_module(module),
    )


def _declared(c: _Checked) -> str:
    patterns = plural(len(c.patterns), "pattern")
    return f"{patterns}, {plural(len(c.functions), 'function')}" if c.functions else patterns
