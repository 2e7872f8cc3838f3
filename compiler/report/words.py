"""Numbers as people read them."""

from __future__ import annotations

from attnlang.compiler.ir.pattern import ParameterValue

_STEPS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def count(number: float) -> str:
    """Whole numbers below a million in full, larger ones with three digits and a prefix.

    >>> count(131072), count(34342977536)
    ('131,072', '34.3 G')
    """
    return f"{number:,.0f}" if abs(number) < 10**6 else scaled(number, "").rstrip()


def scaled(number: float, unit: str) -> str:
    """Three significant digits, a metric prefix and the unit.

    >>> scaled(119735, "B"), scaled(2.2e12, "FLOP")
    ('120 kB', '2.20 TFLOP')
    """
    for size, prefix in _STEPS:
        if abs(number) >= 0.9995 * size:
            return f"{three(number / size)} {prefix}{unit}"
    return f"{three(number)} {unit}" if number != int(number) else f"{int(number)} {unit}"


def three(number: float) -> str:
    """Three significant digits, without an exponent, whole numbers whole.

    >>> three(1.0), three(120.4), three(0.0123), three(98765)
    ('1.00', '120', '0.0123', '98765')
    """
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    if abs(number) >= 9.995:
        return f"{number:.1f}"
    if abs(number) >= 0.9995 or number == 0:
        return f"{number:.2f}"
    return f"{number:.3g}" if abs(number) >= 1e-4 else f"{number:.2e}"


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.0078), percent(1.0)
    ('0.78%', '100%')
    """
    return f"{three(100 * share)}%"


def plural(number: int, noun: str) -> str:
    """
    >>> plural(1, "pattern"), plural(3, "pattern")
    ('1 pattern', '3 patterns')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def parameter(value: ParameterValue) -> str:
    """A parameter's value as it is written in the language and on the command line.

    >>> parameter(True), parameter((5, 7)), parameter("wrap")
    ('true', '5,7', 'wrap')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(parameter(v) for v in value)
    return str(value)
