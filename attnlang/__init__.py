"""attnlang: say which pairs attend; the compiler does the rest.

>>> import attnlang
>>> attnlang.load("stdlib:sliding_window", window=512)
<Pattern sliding_window(window=512, sinks=0) over n>
"""

from pathlib import Path

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "compiler").is_dir():
    # A checkout keeps compiler/, backends/ and stdlib/ beside this folder; a wheel inside it.
    __path__.append(str(_root))

from attnlang import stdlib  # noqa: E402
from attnlang.api import compile, load, parse  # noqa: E402
from attnlang.compiler.diagnostics.model import (  # noqa: E402
    AttnlangError,
    Diagnostic,
    PatternError,
    Unsupported,
)
from attnlang.pattern import Pattern  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "AttnlangError",
    "Diagnostic",
    "Pattern",
    "PatternError",
    "Unsupported",
    "__version__",
    "compile",
    "load",
    "parse",
    "stdlib",
]
