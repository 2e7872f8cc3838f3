"""What the READMEs say of speed, from the newest result files: nothing else may say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attnlang.bench import constant, explain, files, memory, plan, start
from attnlang.bench.suite import table

ROOT = Path(__file__).resolve().parent.parent
NONE = "No result of this kind is kept here. Measure your own machine: `{}`.\n"
Found = tuple[Path, Mapping[str, Any]]


def machine(result: Mapping[str, Any]) -> str:
    """``two cores of an X, torch 2.13.0, 2026-11-21``."""
    about = result["circumstances"]
    place = about.get("gpu") or f"{about['cores']} cores of an {about['processor']}"
    commit = f", commit {about['commit']}" if about.get("commit") else ""
    note = f", {about['note']}" if about.get("note") else ""
    return f"{place}, torch {about['versions']['torch']}, {about['date'][:10]}{commit}{note}"


def link(path: Path, page: Path) -> str:
    """A result file as a page links to it."""
    up = "../" * len(page.parent.relative_to(ROOT).parts)
    return f"[{path.name}]({up}{path.relative_to(ROOT).as_posix()})"


def suites(page: Path) -> str:
    """The newest result of the suite on each kind of device, as tables and pictures."""
    parts = []
    for device in ("cuda", "cpu"):
        found = files.newest("suite", device)
        if found is not None:
            parts.append(suite(found, page))
    return "\n".join(parts) if parts else NONE.format("attnlang bench suite --quick")


def suite(found: Found, page: Path) -> str:
    path, result = found
    quick = ", at the small sizes of `--quick`" if result["scale"] == "quick" else ""
    lines = [
        "How many times as long others take as attnlang: dense attention, PyTorch's attention "
        "with the mask, FlexAttention compiled with its block mask. *Of the bound*: dense "
        "attention's time times the share of its pairs that attend, over attnlang's. "
        f"{result['dtype']}{quick}, "
        f"{machine(result)} ({link(path, page)}).\n",
        table.markdown(result),
        *(f"- {line}" for line in table.absences(result["rows"])),
    ]
    picture = path.with_name(f"{path.stem}-forward.svg")
    if picture.is_file():
        target = link(picture, page).partition("](")[2].rstrip(")")
        lines += ["", f"![Times as fast as others, on a logarithmic axis]({target})"]
    return "\n".join(lines) + "\n"


def op(page: Path) -> str:
    """One window beside SDPA with the mask."""
    found = files.newest("op")
    if found is None:
        return NONE.format("attnlang bench op")
    path, result = found
    ratios = {row["what"]: row["ratio"] for row in result["rows"]}
    rounds = len(result["rows"][0]["seconds"]["blocked"])
    said = ", ".join(f"{ratio:.1f} times as fast {what}" for what, ratio in ratios.items())
    return (
        "`blocked` beside `scaled_dot_product_attention` with the same boolean mask, "
        f"{result['case']}: {said} (medians of {rounds} alternating rounds; {machine(result)}; "
        f"{link(path, page)}).\n"
    )


TABLES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "constant": constant.table,
    "explain": explain.table,
    "memory": memory.table,
    "plan": plan.table,
    "start": start.table,
}


def tables(page: Path, *kinds: str) -> str:
    """The newest results of some kinds, as `attnlang bench` prints them."""
    parts = []
    for kind in kinds:
        found = files.newest(kind)
        if found is not None:
            path, result = found
            text = TABLES[kind](dict(result))
            parts.append(f"\n`attnlang bench {kind}`, {machine(result)} ({link(path, page)}):\n")
            parts.append(f"```\n{text}\n```")
    return "\n".join(parts) + "\n" if parts else ""
