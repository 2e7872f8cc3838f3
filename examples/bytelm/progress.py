"""How a run is followed: a live bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bytelm.training import Run

LINES = 12
"""How many lines a run prints where there is no terminal."""


class Follow:
    """Call it after every step; use it in a `with` statement."""

    def __init__(self, console: Console) -> None:
        self.console, self.printed = console, 0
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.fields[words]}"))
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("", total=1.0, words="")

    def __enter__(self) -> Follow:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, run: Run) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, completed=run.share, words=words(run))
        elif run.share * LINES >= self.printed:
            self.printed = int(run.share * LINES) + 1
            self.console.print(f"{run.share:5.0%}  {words(run)}")


def words(run: Run) -> str:
    """One line on how a run is going."""
    left = clock(run.seconds * (1 - run.share) / run.share)
    return (
        f"step {run.steps:>4}  loss {run.recent():.3f}  held out {run.held_out[-1][1]:.3f}  "
        f"{run.speed:>6,.0f} bytes/s  {left} left"
    )


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(187.2)
    '3:07'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
