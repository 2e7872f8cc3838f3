"""How a run is followed: a live bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

LINES = 12
"""How many lines a run prints where there is no terminal."""


class Followed:
    """Shows how far a run is: call it with the share done and what to say."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.perf_counter()
        self.said = 0
        self.bar = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[words]}"), _Left(), console=console,
        )  # fmt: skip
        self.task = self.bar.add_task("", total=1.0, words="")

    def __enter__(self) -> Followed:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, share: float, words: str) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, completed=share, words=words)
        elif share * LINES >= self.said:
            self.said = int(share * LINES) + 1
            left = clock(remaining(time.perf_counter() - self.began, share))
            self.console.print(f"{share:4.0%}  {words}  {left} left", highlight=False)


class _Left(ProgressColumn):
    """The time that is left, from the share that is done."""

    def render(self, task: Task) -> Text:
        return Text(f"{clock(remaining(task.elapsed or 0.0, task.completed))} left", "cyan")


def remaining(elapsed: float, share: float) -> float:
    """Seconds to go at the pace so far."""
    return elapsed * (1 - share) / share if share > 0 else 0.0


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(187.2)
    '3:07'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
