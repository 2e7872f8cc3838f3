"""Telling a person at a terminal that work is going on."""

from __future__ import annotations

from collections.abc import Iterator
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
