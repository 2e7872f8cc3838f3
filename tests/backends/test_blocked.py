"""The block-sparse executor against the dense reference: random patterns, all gradients, float64."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.backends.blocked import boxes, fused, schedule, softmax, stretch
from attnlang.compiler.analysis import classify
from attnlang.compiler.layout import choose, cost
from tests.backends.calls import AttentionCall, calls, check
from tests.compiler.test_classification import LONGEST, SHAPES

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=["usual", "small"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, or with everything that is cut in pieces cut in many."""
    if request.param == "small":
        monkeypatch.setattr(choose, "DEFAULT_TILE", 8)
        monkeypatch.setattr(choose, "ENUMERATED", 16)
        monkeypatch.setattr(classify, "DENSE_AXIS", 16)
        monkeypatch.setattr(cost, "extents", lambda n: [t for t in (1, 3, 8) if t <= n])
        monkeypatch.setattr(softmax, "CHUNK_BYTES", 4096)
        monkeypatch.setattr(fused, "PART_BYTES", 2048)
        monkeypatch.setattr(boxes, "MASK_BYTES", 64)
        monkeypatch.setattr(schedule, "MOST_VIEWS", 2)
        monkeypatch.setattr(stretch, "FEWEST", 0)


def drawn(data: st.DataObject, shape: str) -> AttentionCall:
    try:
        return data.draw(calls(axes=SHAPES[shape], longest=LONGEST[shape]))
    except attnlang.PatternError as error:
        assert {d.code for d in error.diagnostics} <= {"AL409", "AL410"}, error
        assume(False)
        raise


@pytest.mark.parametrize("shape", SHAPES)
@quick
@given(data=st.data())
def test_random_patterns(limits: None, shape: str, data: st.DataObject) -> None:
    check(drawn(data, shape))


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
@settings(quick, max_examples=1500)
@given(data=st.data())
def test_many_more_patterns(limits: None, shape: str, data: st.DataObject) -> None:
    check(drawn(data, shape))
