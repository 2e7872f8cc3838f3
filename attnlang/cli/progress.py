"""Telling a person at a terminal that work is going on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attnlang.cli.console import Console


@contextmanager
def working(what: str, console: Console) -> Iterator[None]:
    """A spinner with the time while the block runs; nothing where nobody watches."""
    if not console.err.isatty():
        yield
        return
    from rich.console import Console as Rich
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = Rich(file=console.err, no_color=not console.colours(console.err))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def steps(names: Sequence[str], console: Console) -> Iterator[Callable[[str], None]]:
    """A bar over named steps; the block calls what it gets with a step's name when that begins, and
    with anything else to say more. Where nobody watches, a line for each step."""
    begun = 0
    if not console.err.isatty():

        def line(what: str) -> None:
            nonlocal begun
            if begun < len(names) and what == names[begun]:
                begun += 1
                console.say(f"{begun}/{len(names)} {what}")

        yield line
        return
    from rich.console import Console as Rich
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = Rich(file=console.err, no_color=not console.colours(console.err))
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=len(names))

        def move(what: str) -> None:
            nonlocal begun
            if begun < len(names) and what == names[begun]:
                progress.update(task, completed=begun)
                begun += 1
            progress.update(task, description=what)

        yield move
