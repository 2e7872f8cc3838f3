"""Text that every machine with Python has: the sources of the standard library."""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# Beside the modules at the top; none is a table of data, none a test.
PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "email", "html", "http", "importlib", "json",
    "logging", "multiprocessing", "sqlite3", "tomllib", "unittest", "urllib", "xml", "xmlrpc",
)  # fmt: skip
MOST_BYTES = 8_000_000
HELD_OUT = 16
"""One file in so many is kept for validation."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Bytes to learn from and bytes to judge by, from different files."""

    train: Tensor
    held_out: Tensor
    files: int

    def batches(self, batch: int, length: int, dice: torch.Generator) -> Iterator[Tensor]:
        """Endless random windows of the training text, ``[batch, length]``."""
        steps = torch.arange(length)
        while True:
            starts = torch.randint(len(self.train) - length + 1, (batch, 1), generator=dice)
            yield self.train[starts + steps].long()

    def judged(self, count: int, length: int) -> Tensor:
        """The same `count` windows every time, spread over the held-out text."""
        starts = torch.linspace(0, len(self.held_out) - length, count).long()
        return self.held_out[starts[:, None] + torch.arange(length)].long()

    def frequency_loss(self) -> float:
        """Nats a byte of a guesser that knows only how frequent each byte is: the mark to beat."""
        counts = torch.bincount(self.train.long(), minlength=256).double() + 1
        chances = counts / counts.sum()
        return -chances.log()[self.held_out.long()].mean().item()


def read(most_bytes: int = MOST_BYTES) -> Corpus:
    """The corpus of this machine: the same on every run with the same Python."""
    texts = [path.read_bytes() for path in sources()]
    texts = texts[: _fitting(texts, most_bytes)]
    parts = {True: bytearray(), False: bytearray()}
    for number, text in enumerate(texts):
        parts[number % HELD_OUT == HELD_OUT // 2] += text + b"\n"
    if not parts[True]:
        raise SystemExit(f"no Python sources to learn from in {sysconfig.get_path('stdlib')}")
    train, held_out = (torch.frombuffer(parts[held], dtype=torch.uint8) for held in (False, True))
    return Corpus(train, held_out, len(texts))


def sources() -> list[Path]:
    """The source files, sorted by name."""
    root = Path(sysconfig.get_path("stdlib"))
    found = list(root.glob("*.py"))
    for package in PACKAGES:
        found += (root / package).rglob("*.py")
    kept = [path for path in found if not {"test", "tests"} & set(path.relative_to(root).parts)]
    return sorted(kept, key=lambda path: path.relative_to(root).as_posix())


def _fitting(texts: list[bytes], most_bytes: int) -> int:
    """How many of the texts, from the first, fit."""
    total = 0
    for number, text in enumerate(texts):
        total += len(text)
        if total > most_bytes:
            return number
    return len(texts)


def bits(nats: float) -> float:
    """Nats as bits: a loss of 8 bits a byte is no knowledge at all."""
    return nats / math.log(2)
