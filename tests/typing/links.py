"""Links through which type checkers see the package in one piece: `python tests/typing/links.py`.

Programs do not need them. The package's parts lie in four folders of the checkout, joined when
it is imported; checkers do not import, so they look at `tests/typing/attnlang` instead.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINKS = ROOT / "tests" / "typing" / "attnlang"
PARTS = ("compiler", "backends", "stdlib")
UP = Path("../../..")


def wanted() -> dict[str, Path]:
    """Where each link points: everything in `attnlang/`, and the parts beside it."""
    inside = (p for p in (ROOT / "attnlang").iterdir() if p.name != "__pycache__")
    links = {p.name: UP / "attnlang" / p.name for p in inside if not p.name.startswith(".")}
    return links | {name: UP / name for name in PARTS}


def present() -> dict[str, Path]:
    """Where the links that are there point."""
    return {p.name: p.readlink() for p in LINKS.iterdir()} if LINKS.is_dir() else {}


def main() -> None:
    LINKS.mkdir(exist_ok=True)
    right, there = wanted(), present()
    for name in there.keys() - right.keys():
        (LINKS / name).unlink()
    for name, target in right.items():
        if there.get(name) != target:
            (LINKS / name).unlink(missing_ok=True)
            (LINKS / name).symlink_to(target)


if __name__ == "__main__":
    main()
