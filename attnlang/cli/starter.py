"""The text of a new pattern file: a working pattern, with a comment on every part."""

from __future__ import annotations

from collections.abc import Sequence


def starter(name: str, axes: Sequence[str]) -> str:
    """A neighbourhood on each axis; on a lone axis a causal window."""
    return _sequence(name, axes[0]) if len(axes) == 1 else _grid(name, axes)


def _sequence(name: str, axis: str) -> str:
    return f'''# What is true of a pair (q, k) attends; everything else is never computed.
# `attnlang show {name}.attn` draws it, `attnlang explain {name}.attn --size {axis}=8192` counts it.

pattern {name}(window: int = 16, sinks: int = 4):
    """Causal window of `window` keys, with the first `sinks` tokens always in sight."""
    # Tokens lie on one axis. `q.{axis}` is the query's place on it, `k.{axis}` the key's.
    over {axis}

    # What parameters and lengths must satisfy; checked before anything runs.
    require window >= 1, "the query itself is in its window"

    # Tensors given with each call, one value per token:
    # input doc: int[batch, {axis}] sorted

    # One condition says which pairs attend. `causal` and `band` are functions of the library;
    # write your own with `def`.
    attend where causal({axis}) and (band({axis}, window) or k.{axis} < sinks)

    # Scores are edited by lines indented below the condition:
    #     score s - alibi_slope(head, heads) * (q.{axis} - k.{axis})
'''


def _grid(name: str, axes: Sequence[str]) -> str:
    near = " and ".join(f"near({a}, window[{a}])" for a in axes)
    fits = "\n".join(
        f'    require 1 <= window[{a}] <= len({a}), "the window must fit"' for a in axes
    )
    sizes = " ".join(f"--size {a}=16" for a in axes)
    first = axes[0]
    return f'''# What is true of a pair (q, k) attends; everything else is never computed.
# `attnlang show {name}.attn` draws it, `attnlang explain {name}.attn {sizes}` counts it.

pattern {name}(window: int[axis] = 5):
    """The `window` nearest keys on each axis; windows are shifted inward at the edges."""
    # Tokens lie on a grid, the last axis fastest. `q.{first}` is the query's place on axis
    # `{first}`, `k.{first}` the key's.
    over {", ".join(axes)}

    # What parameters and lengths must satisfy; checked before anything runs.
{fits}

    # Tokens that are not on the grid, and what reading them needs:
    # prefix cls: 1

    # One condition says which pairs attend. `near` is a function of the library; write your
    # own with `def`.
    attend where {near}
'''
