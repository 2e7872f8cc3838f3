"""attnlang: say which pairs attend; the compiler does the rest."""

from pathlib import Path

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "compiler").is_dir():
    # A checkout keeps compiler/, backends/ and stdlib/ beside this folder; a wheel inside it.
    __path__.append(str(_root))
