"""Bring the generated blocks of the READMEs up to date: `python examples/make_readme.py`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import measured

from attnlang import stdlib
from attnlang.cli import main as attnlang
from attnlang.stdlib_info import PatternInfo

README = Path(__file__).resolve().parent.parent / "README.md"
BACKENDS = README.parent / "backends" / "README.md"
COMPILER = README.parent / "compiler" / "README.md"
PATTERN = "examples/patterns/mixed_heads.attn"
PROGRAM = "examples/patterns/routed_memory.attn"
SHOW = f"attnlang show {PATTERN} --size n=16 --heads 4 --set window=5 --set sinks=1 --tile 4"
SIZED = "--size n=131072 --heads 32 --kv-heads 8 --head-dim 128"
EXPLAIN = f"attnlang explain {PATTERN} {SIZED}"
EXPLAIN_PROGRAM = f"attnlang explain {PROGRAM} {SIZED}"


def pattern(path: str) -> Callable[[], str]:
    """A pattern file as it is."""
    return lambda: fenced("python", (README.parent / path).read_text(encoding="utf-8"))


def command(line: str) -> Callable[[], str]:
    """A command and what it prints, run at the root of the project."""

    def run() -> str:
        out = io.StringIO()
        with (
            contextlib.chdir(README.parent),
            contextlib.redirect_stdout(out),
            mock.patch.dict(os.environ, COLUMNS="100"),
        ):
            code = attnlang([*shlex.split(line)[1:], "--color", "never"])
        assert code == 0, line
        return fenced("", f"$ {line}\n{out.getvalue()}")

    return run


def patterns() -> str:
    """The standard library: one row a pattern, one column a backend."""
    infos = [stdlib.info(name) for name in stdlib.names()]
    backends = list(dict.fromkeys(b for info in infos for b in info.backends))
    head = ["pattern", "axes and run-time inputs", "from", "fidelity", *backends]
    rows = [head, ["---"] * len(head)]
    for info in infos:
        needs = [", ".join(info.axes), *(f"`{n}: {kind}`" for n, kind in info.inputs.items())]
        runs = ["yes" if backend in info.backends else "no" for backend in backends]
        rows.append([f"`{info.name}`", "; ".join(needs), origin(info), info.fidelity or "", *runs])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def origin(info: PatternInfo) -> str:
    """The paper and its year, as a link where there is one."""
    words = ", ".join(str(part) for part in (info.paper, info.year) if part)
    return f"[{words}](https://arxiv.org/abs/{info.arxiv})" if info.arxiv else words


BLOCKS: dict[str, Callable[[], str]] = {
    "pattern": pattern(PATTERN),
    "program": pattern(PROGRAM),
    "explain a program": command(EXPLAIN_PROGRAM),
    "show": command(SHOW),
    "explain": command(EXPLAIN),
    "patterns": patterns,
    "suite": lambda: measured.suites(README),
}
OF_BACKENDS: dict[str, Callable[[], str]] = {
    "op": lambda: measured.op(BACKENDS),
    "others": lambda: measured.tables(BACKENDS, "constant", "memory", "start"),
}
OF_COMPILER: dict[str, Callable[[], str]] = {
    "plans and reports": lambda: measured.tables(COMPILER, "plan", "explain"),
}
PAGES = {README: BLOCKS, BACKENDS: OF_BACKENDS, COMPILER: OF_COMPILER}
"""What is generated on each page."""


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def current(text: str, page: Path = README) -> str:
    """A page with every block made anew."""
    for name, make in PAGES[page].items():
        block = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        made = make()
        text, found = block.subn(lambda m, made=made: f"{m[1]}{made}{m[2]}", text)
        assert found == 1, f"{found} blocks `{name}` in {page.name}"
    return text


def timeless(text: str) -> str:
    """Without measured times, which differ from run to run."""
    return re.sub(r"made in [\d.]+ \w+", "made in - ms", text)


def main() -> None:
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = current(old, page)
        if timeless(new) != timeless(old):
            page.write_text(new, encoding="utf-8")
        print(f"{page.relative_to(README.parent)} is current")


if __name__ == "__main__":
    main()
