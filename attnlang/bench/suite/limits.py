"""Bounds on what a contender may take: time to get ready, memory."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import torch


class TooSlow(Exception):
    """The time given is over."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooSlow when the block takes longer; without an effect off the main thread.

    A block that turns the interruption into an error of its own has been too slow all the same.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    over = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal over
        over = True
        raise TooSlow(f"not ready within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Exception as error:
        if over and not isinstance(error, TooSlow):
            raise TooSlow(f"not ready within {seconds:.0f} s") from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def free_bytes(device: torch.device) -> int:
    """Memory that a contender may still take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        found = re.search(r"MemAvailable: *(\d+) kB", text)
        if found:
            return int(found[1]) * 1024
    except OSError:
        pass
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 4 << 30


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """The most memory that one run of ``work`` holds beyond what was held before.

    On a processor by the kernel's high-water mark, which Linux lets a process set back; None
    where there is none.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    try:
        _trim()
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        held = _status("VmRSS")
    except (OSError, ValueError):
        return None
    result = work()
    peak = _status("VmHWM") - held
    del result
    return max(peak, 0)


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"{name}:\s*(\d+) kB", text)
    if found is None:
        raise ValueError(name)
    return int(found[1]) * 1024


def _trim() -> None:
    """Give freed memory back, so that the next run has to ask for it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
