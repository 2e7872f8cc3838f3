"""Results as files: the only place that documents take a measured figure from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a result; its name says what, on what and when. A later one of the day replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    what = kind(result)
    scale = ["quick"] if result.get("scale") == "quick" else []
    date = str(result["circumstances"]["date"])[:10]
    path = folder / f"{'-'.join([what, *scale, device(result), date])}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def kind(result: Mapping[str, Any]) -> str:
    """``suite`` of ``attnlang.bench.suite/1``."""
    return str(result["schema"]).removeprefix("attnlang.bench.").partition("/")[0]


def device(result: Mapping[str, Any]) -> str:
    return str(result.get("device", "cpu"))


def read(folder: Path = RESULTS) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every result of a folder, in order of its name."""
    for path in sorted(folder.glob("*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def newest(
    what: str, on: str = "cpu", folder: Path = RESULTS
) -> tuple[Path, dict[str, Any]] | None:
    """The last result of a kind on a device, by its own date; None where there is none."""
    found = [
        (str(result["circumstances"]["date"]), path, result)
        for path, result in read(folder)
        if kind(result) == what and device(result) == on
    ]
    if not found:
        return None
    _, path, result = max(found, key=lambda x: x[:2])
    return path, result
