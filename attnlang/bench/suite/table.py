"""The suite's result as text: one table, and below it what did not take part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnlang.compiler.report.words import scaled, three

Row = Mapping[str, Any]
SHORT = {"sdpa": "dense", "sdpa + mask": "mask", "attnlang triton": "triton"}
"""What contenders are called at the head of a column, where that is shorter."""
BLANK = "-"


def of(row: Row, contender: str, direction: str, field: str) -> Any:
    """One number of a row; None where there is none."""
    for record in row["contenders"]:
        if record["name"] == contender and record[direction] is not None:
            return record[direction].get(field)
    return None


def bound_share(row: Row, direction: str) -> float | None:
    """The bound's time over ours: 1 is all that skipping can give over dense attention."""
    ours = of(row, "attnlang", direction, "median_s")
    limit = row.get("bound", {}).get(direction)
    return limit / ours if ours and limit else None


def times(x: float | None) -> str:
    return BLANK if x is None else f"{three(x)}x"


def milliseconds(x: float | None) -> str:
    return BLANK if x is None else f"{three(1e3 * x)}"


def percent(x: float | None) -> str:
    return BLANK if x is None else f"{100 * x:.0f} %"


def others(rows: Sequence[Row], direction: str) -> list[str]:
    """Everybody but attnlang who was timed in some row, in the order of the records."""
    names = [record["name"] for row in rows for record in row["contenders"] if record[direction]]
    return [name for name in dict.fromkeys(names) if name != "attnlang"]


def headings(names: Sequence[str]) -> list[str]:
    return [SHORT.get(name, name) for name in names]


def cells(row: Row, forward: Sequence[str], both: Sequence[str]) -> list[str]:
    """One line of the table. forward, both: who has a column there."""
    ours = {d: of(row, "attnlang", d, "median_s") for d in ("forward", "both")}
    flops = of(row, "attnlang", "forward", "tflops")
    peak = of(row, "attnlang", "both", "peak_bytes")
    density, waste = row.get("density"), row.get("waste")
    return [
        row["workload"],
        f"{row['tokens']}" if "tokens" in row else BLANK,
        BLANK if density is None else f"{100 * density:.2g}%",
        BLANK if waste is None else three(waste),
        milliseconds(row.get("plan_s")),
        milliseconds(ours["forward"]),
        BLANK if flops is None else scaled(1e12 * flops, ""),
        *(times(of(row, name, "forward", "ratio")) for name in forward),
        percent(bound_share(row, "forward")),
        milliseconds(ours["both"]),
        *(times(of(row, name, "both", "ratio")) for name in both),
        BLANK if peak is None else scaled(peak, "B"),
    ]


def table(result: Row) -> str:
    """The result for a terminal. Ratios are times as long as attnlang took."""
    forward, both = (others(result["rows"], d) for d in ("forward", "both"))
    head = ["workload", "tokens", "dens.", "waste", "plan", "fwd ms", "FLOP/s", *headings(forward)]
    head += ["of bound", "f+b ms", *headings(both), "peak"]
    rows = [head, *(cells(row, forward, both) for row in result["rows"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    about = (
        f"{result['device']}, {result['scale']} sizes, {result['dtype']}, "
        f"{result['threads']} threads. plan in ms; of others, how many times as long as "
        "attnlang they took; of bound: dense attention's time times the share of its pairs that "
        "attend, over ours."
    )
    return "\n".join([about, "", *lines, "", *asides(result["rows"])])


def asides(rows: Sequence[Row]) -> list[str]:
    """What the table has no column for: choosing, masks, compilers, libraries, absences."""
    lines = []
    for row in rows:
        if row["failed"]:
            lines.append(f"{row['workload']}: {row['failed']}")
        parts = []
        if row.get("select_s"):
            parts.append(f"choosing takes {milliseconds(row['select_s'])} ms before")
        for record in row["contenders"]:
            for what in ("mask", "first_call"):
                seconds = record["seconds"].get(what)
                if seconds is not None:
                    parts.append(f"{record['name']} {what.replace('_', ' ')} {three(seconds)} s")
        if parts:
            lines.append(f"{row['workload']}: {', '.join(parts)}")
    return [*lines, "", *absences(rows)]


def absences(rows: Sequence[Row]) -> list[str]:
    """Every contender that is missing somewhere, with the reason and where."""
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for record in row["contenders"]:
            if record["reason"]:
                key = record["name"], f"{record['status']}, {record['reason']}"
                where.setdefault(key, []).append(row["workload"])
            if record["no_backward"]:
                key = record["name"], record["no_backward"]
                where.setdefault(key, []).append(row["workload"])
    return [
        f"{name}: {reason} ({_listed(names, len(rows))})" for (name, reason), names in where.items()
    ]


def _listed(names: Sequence[str], of_all: int) -> str:
    if len(names) == of_all:
        return "everywhere"
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} of {of_all} workloads"


def markdown(result: Row) -> str:
    """The result for a README: how many times as fast attnlang is."""
    forward, both = (others(result["rows"], d) for d in ("forward", "both"))
    head = [
        "workload", "tokens", "density", "waste", *(f"forward, {n}" for n in headings(forward)),
        "of the bound", *(f"with backward, {n}" for n in headings(both)),
    ]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for row in result["rows"]:
        density, waste = row.get("density"), row.get("waste")
        lines.append(
            [
                f"`{row['workload']}`",
                f"{row['tokens']:,}" if "tokens" in row else BLANK,
                BLANK if density is None else f"{100 * density:.2g} %",
                BLANK if waste is None else three(waste),
                *(_fold(of(row, name, "forward", "ratio")) for name in forward),
                percent(bound_share(row, "forward")),
                *(_fold(of(row, name, "both", "ratio")) for name in both),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fold(x: float | None) -> str:
    return BLANK if x is None else f"{three(x)}×"
