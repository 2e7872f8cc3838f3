"""What tests of kernels share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from attnlang.backends.triton import launch


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """What is launched from now on: kernel, arguments, grid."""
    seen: list[tuple[str, dict[str, Any], tuple[int, ...]]] = []
    load = launch.load

    class Kernel:
        def __init__(self, name: str, function: Any) -> None:
            self.name, self.function = name, function

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            def run(**given: Any) -> None:
                seen.append((self.name, given, grid))
                self.function[grid](**given)

            return run

    def loaded(text: str) -> Any:
        functions = vars(load(text)).items()
        return SimpleNamespace(**{n: Kernel(n, f) for n, f in functions})

    monkeypatch.setattr(launch, "load", loaded)
    return seen
