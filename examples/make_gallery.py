"""Write the gallery of the standard library: `python examples/make_gallery.py`.

One row for each pattern in stdlib/README.md, with a picture in examples/pictures/stdlib.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gallery.calls import LARGE, SHOWN, SMALL, Shown
from make_readme import origin

import attnlang
from attnlang import stdlib
from attnlang.cli.drawing import elements
from attnlang.cli.examples import example
from attnlang.cli.shortening import shortened
from attnlang.cli.step_panels import Drawing, drawn_steps
from attnlang.compiler.report.steps.model import ProgramReport
from attnlang.picture import Panel, Picture, svg
from attnlang.picture.layout import thumbnail
from attnlang.stdlib_info import PatternInfo

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "stdlib" / "README.md"
PICTURES = ROOT / "examples" / "pictures" / "stdlib"
HEADS = 8
"""Of the calls that are counted."""

INTRODUCTION = """# The standard library

{count} patterns from {papers} papers. `attnlang.load("stdlib:NAME")` loads one,
`attnlang show stdlib:NAME` draws it at any size, and its text here is meant to be read and copied.

In the pictures queries run from top to bottom and keys from left to right. Blue pairs attend, dark
blue where a whole tile does; sand-coloured ones are computed for nothing, all others never. Where
heads differ, two stand side by side. *Density* is the share of pairs that attend, with the
parameters below and {heads} heads, *growth* that of the work with the length. *Verified* patterns
are compared with the paper's definition, an *interpretation* had to decide something: its docstring
says what.

Programs have a picture for each attention and selection. Orange is what one example chooses, pale
blue what other tensors might; green is summed in a state. Beside them stands their share of the
work of dense attention.

"""


HEAD = """| | pattern | call | density, growth | fidelity, backends |
| --- | --- | --- | --- | --- |
"""


def picture(info: PatternInfo) -> str | None:
    """The SVG of a pattern; None where no small call of it is known."""
    shown = SHOWN.get(info.name, Shown())
    sizes = shown.small or SMALL.get(info.axes)
    if sizes is None:
        return None
    count, drawn = shown.heads
    try:
        pattern = attnlang.load(f"stdlib:{info.name}", **shown.params)
        inputs = shown.inputs({**sizes, "heads": count})
        if pattern.ir.program is not None:
            pattern = pattern.with_params(**shortened(pattern.ir, shown.params, sizes))
            made = steps_of(pattern, sizes, count, inputs)
            return svg.draw(thumbnail(Picture(info.name, "", made)))
        declared = pattern.ir.inputs
        if any(not i.optional and i.name not in inputs for i in declared):
            return None
        inputs = {i.name: None for i in declared if i.optional} | inputs
        plan = pattern.plan(sizes, count, tile=shown.tile, **inputs)
        panels = [elements(plan, (head,), "", "").panels[0] for head in drawn]
    except (attnlang.PatternError, ValueError):
        return None
    bare = tuple(replace(panel, title="") for panel in panels)
    return svg.draw(thumbnail(Picture(info.name, "", bare)))


def steps_of(
    pattern: attnlang.Pattern, sizes: dict[str, int], heads: int, inputs: dict[str, Any]
) -> tuple[Panel, ...]:
    """A panel for every step of a program, of its first head, with an example of what is chosen."""
    made = pattern.bound(sizes, heads)
    found = example(pattern, made, sizes, inputs)
    names = list(pattern.steps)
    what = Drawing(made, found.sets, found.numbers, found.inputs, (0,), False, "small", names)
    return tuple(replace(p, title="") for step in drawn_steps(what) for p in step.panels[:1])


def cost(info: PatternInfo) -> str:
    """Density and growth at a size that papers have."""
    shown = SHOWN.get(info.name, Shown())
    sizes = shown.large or LARGE.get(info.axes)
    if sizes is None:
        return ""
    try:
        pattern = attnlang.load(f"stdlib:{info.name}")
        inputs = shown.inputs({**sizes, "heads": HEADS})
        report = pattern.explain(sizes, HEADS, **inputs).report
    except attnlang.PatternError:
        return ""
    at = " x ".join(f"{n:,}" for n in sizes.values())
    names = ", ".join(sizes)
    if isinstance(report, ProgramReport):
        if report.forward is None:
            return ""
        return f"{100 * report.forward / report.dense:.3g}% of dense FLOPs at {names} = {at}"
    density = "" if report.pairs.density is None else f"{100 * report.pairs.density:.3g}% "
    grows = report.growth.kind.partition(":")[0] if report.growth else "set by the inputs"
    return f"{density}at {names} = {at}<br>{grows}"


def row(info: PatternInfo) -> str:
    """One row of a family's table."""
    at = f"../examples/pictures/stdlib/{info.name}.svg"
    drawn = (
        f'<img src="{at}" alt="{info.name}">' if (PICTURES / f"{info.name}.svg").exists() else ""
    )
    name = f'<a id="{info.name}"></a>[`{info.name}`]({info.family}/{info.name}.attn)'
    params = [f"`{n}={shortly(p.default)}`" for n, p in info.params.items()]
    inputs = [f"`{n}: {kind}`" for n, kind in info.inputs.items()]
    call = "<br>".join([f"over {', '.join(info.axes)}", *params, *inputs])
    runs = "<br>".join([info.fidelity or "", *info.backends])
    summary = info.summary.replace("|", "\\|")
    return f"| {drawn} | {name}<br>{origin(info)}<br>{summary} | {call} | {cost(info)} | {runs} |\n"


def shortly(value: object) -> str:
    """A default as it is written in the language; nothing for what must be given."""
    if isinstance(value, bool):
        return str(value).lower()
    return "..." if value is None else str(value)


def papers(infos: list[PatternInfo]) -> str:
    """Every paper with its patterns, in alphabetical order."""
    found: dict[str, list[str]] = {}
    for info in infos:
        found.setdefault(origin(info), []).append(f"[`{info.name}`](#{info.name})")
    lines = [f"- {paper}: {', '.join(names)}\n" for paper, names in found.items()]
    return "".join(sorted(lines, key=str.lower))


def page() -> str:
    """The whole of stdlib/README.md."""
    infos = [stdlib.info(name) for name in stdlib.names()]
    count = len({origin(info) for info in infos})
    parts = [INTRODUCTION.format(count=len(infos), papers=count, heads=HEADS)]
    parts.append("## By paper\n\n" + papers(infos))
    for family in dict.fromkeys(info.family for info in infos):
        rows = "".join(row(info) for info in infos if info.family == family)
        parts.append(f"\n## {family.replace('_', ' ').capitalize()}\n\n{HEAD}{rows}")
    return "".join(parts)


def pictures() -> dict[str, str]:
    """The SVG files by name."""
    made = {name: picture(stdlib.info(name)) for name in stdlib.names()}
    return {f"{name}.svg": text for name, text in made.items() if text is not None}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    made = pictures()
    for old in {p.name for p in PICTURES.iterdir()} - made.keys():
        (PICTURES / old).unlink()
    for name, text in made.items():
        (PICTURES / name).write_text(text, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} and {len(made)} pictures")


if __name__ == "__main__":
    main()
