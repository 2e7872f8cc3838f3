"""Which choice is fastest on this machine: measured when asked for, kept on disk.

Inside :func:`tuning` every kernel that is launched is first run with each of its candidates. The
fastest of those that fit, and spill no registers while another spills none, is written to the
cache, and later launches of the same text, widths, lengths and machine take it. What is read back
is used only if it is still a candidate.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from attnlang.backends.triton.choices import Choice, Shape, candidates
from attnlang.backends.triton.fit import first_that_fits, least
from attnlang.backends.triton.form import Kernel
from attnlang.backends.triton.module import cache_directory
from attnlang.backends.triton.target import unfit

LOG = logging.getLogger(__name__)
Run = Callable[[Choice], Any]
"""Launches a kernel. Gives what Triton compiled, or None where it interprets."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate, and its seconds or why it has none."""

    choice: Choice
    seconds: float | None
    spills: int = 0
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Of a kernel: what was measured, and the choice that is kept; None where nothing ran."""

    kernel: str
    best: Choice | None
    tried: tuple[Tried, ...]

    @property
    def line(self) -> str:
        if self.best is None:
            return f"{self.kernel}: nothing was measured"
        seconds = {x.choice: x.seconds for x in self.tried}
        ran = sum(x.seconds is not None for x in self.tried)
        first = self.tried[0].seconds
        times = f", {first / (seconds[self.best] or math.inf):.2f} times the first" if first else ""
        return f"{self.kernel}: {_words(self.best)}, of {ran} measured{times}"


@dataclass(slots=True)
class Session:
    """measure: seconds that a launch takes. deadline: on ``clock``, after which nothing new is
    begun. tell: is called with a line for each candidate. found: of each kernel, by its key."""

    measure: Callable[[Callable[[], Any]], float]
    clock: Callable[[], float]
    deadline: float
    tell: Callable[[str], None]
    found: dict[str, Result] = field(default_factory=dict)

    @property
    def results(self) -> list[Result]:
        return list(self.found.values())


_session: ContextVar[Session | None] = ContextVar("tuning", default=None)
_known: dict[Path, Choice | None] = {}
"""What was read back, or found to be the first that fits."""


@contextmanager
def tuning(
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
    measure: Callable[[Callable[[], Any]], float] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Session]:
    """Launches inside are tuned, for so many seconds in all; what is left over keeps its first
    choice. Sums over several launches of a kernel that adds to its output are not results."""
    session = Session(measure or median_time, clock, clock() + seconds, tell)
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)


def median_time(launch: Callable[[], Any]) -> float:
    """Seconds of a launch on a GPU: the median of many, between which its cache is emptied."""
    from triton.testing import do_bench

    return float(do_bench(launch, warmup=10, rep=50, return_mode="median")) / 1000


def launched(
    kernel: Kernel, text: str, shape: Shape, lengths: tuple[int, int], device: torch.device,
    run: Run,
) -> Choice:  # fmt: skip
    """Launches a kernel of a module's text: as tuned, else with the likeliest choice that the
    device has room for. Gives the choice. Raises Unsupported when there is none."""
    name = kernel.function.name
    capped = torch.version.hip is None
    every = candidates(name, shape, kernel.stands_on_keys, capped)
    powers = (_up(lengths[0]), _up(lengths[1]))
    key = key_of(text, name, shape, powers, machine(device))
    session = _session.get()
    path = cache_directory() / "tuned" / f"{key}.json"
    if session is not None and key not in session.found and len(every) > 1:
        tried = _try(session, name, every, run)
        best = fastest(tried)
        session.found[key] = Result(name, best, tried)
        if best is not None:
            _keep(path, kernel, shape, device, tried, best)
    if path not in _known:
        _known[path] = _read(path)
    known = _known[path]
    likely = (known, *(c for c in every if c != known)) if known in every else every
    # What was measured to be fastest may spill.
    found, dropped = first_that_fits(likely, run, spilling=known in every)
    if found is None:
        raise unfit(name, machine(device), str(least(dropped)))
    for choice, why in dropped:
        LOG.info("%s: %s is not taken on %s: %s", name, _words(choice), machine(device), why)
    if dropped:
        _known[path] = found  # what does not fit is not tried again
    return found


@lru_cache(maxsize=1024)
def key_of(text: str, name: str, shape: Shape, lengths: tuple[int, int], machine: str) -> str:
    """What a measurement holds for. lengths: powers of two."""
    import triton

    known = (text, name, asdict(shape), lengths, machine, triton.__version__)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]


def _up(length: int) -> int:
    return 1 << max(0, length - 1).bit_length()


@lru_cache(maxsize=16)
def machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"


def _try(session: Session, name: str, every: tuple[Choice, ...], run: Run) -> tuple[Tried, ...]:
    found = []
    for i, choice in enumerate(every):
        if session.clock() >= session.deadline:
            found += [Tried(x, None, why="no time was left") for x in every[i:]]
            session.tell(f"{name}: no time left for {len(every) - i} of {len(every)} choices")
            break
        one = _measured(session, choice, run)
        found.append(one)
        says = one.why if one.seconds is None else f"{one.seconds * 1e3:.3f} ms"
        spills = f", {one.spills} registers spilled" if one.spills else ""
        session.tell(f"{name} {i + 1}/{len(every)}: {_words(choice)}: {says}{spills}")
    return tuple(found)


def _measured(session: Session, choice: Choice, run: Run) -> Tried:
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError

    try:
        made = run(choice)
    except (OutOfResources, CompilationError, PTXASError) as error:
        return Tried(choice, None, why=f"does not fit: {error}")
    spills = getattr(made, "n_spills", None) or 0
    return Tried(choice, session.measure(lambda: run(choice)), spills)


def fastest(tried: tuple[Tried, ...]) -> Choice | None:
    """Of those that spill least; None where nothing was measured."""
    ran = [x for x in tried if x.seconds is not None]
    whole = [x for x in ran if not x.spills] or ran
    return min(whole, key=lambda x: x.seconds or math.inf).choice if whole else None


def _words(choice: Choice) -> str:
    cap = "" if choice.maxnreg is None else f", at most {choice.maxnreg} registers"
    return f"{choice.rows} by {choice.step}, {choice.warps} warps, {choice.stages} stages{cap}"


def _keep(
    path: Path, kernel: Kernel, shape: Shape, device: torch.device, tried: tuple[Tried, ...],
    best: Choice,
) -> None:  # fmt: skip
    about = {
        "kernel": kernel.function.name, "machine": machine(device), "shape": asdict(shape),
        "choice": asdict(best), "tried": [asdict(x) for x in tried],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}.tmp")
    new.write_text(json.dumps(about, indent=2), encoding="utf-8")
    new.replace(path)
    _known[path] = best


def _read(path: Path) -> Choice | None:
    """What an earlier session chose; None for nothing, and for what is not such a file."""
    try:
        return Choice(**json.loads(path.read_text(encoding="utf-8"))["choice"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
