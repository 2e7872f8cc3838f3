"""A report on a program as plain, aligned text: a section for each step, then the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from attnlang.compiler.problem.heads import heads_text
from attnlang.compiler.report.steps.cost import Cost
from attnlang.compiler.report.steps.model import (
    Amount,
    AttentionStep,
    DecayKind,
    Horizon,
    LinearStep,
    PoolStep,
    ProgramReport,
    SelectStep,
    StepReport,
    TensorStep,
)
from attnlang.compiler.report.text import Line, fact_line, pair_lines, tile_lines, wrapped
from attnlang.compiler.report.words import count, parameter, percent, plural, scaled, three

_DECAYS: dict[DecayKind, str] = {
    "none": "none",
    "constant": "constant",
    "token": "one for each token",
    "channel": "one for each token and feature of the key",
    "softmax": "none: a softmax over the past",
}


def program_text(report: ProgramReport) -> str:
    """No final newline."""
    lines = [heading(report)]
    for step in report.steps:
        title, *body = _section(step, report)
        lines += ["", title, *(x for label, text in body for x in wrapped(label, text))]
    whole = (x for label, text in _whole(report) for x in wrapped(label, text))
    return "\n".join([*lines, "", "in all", *whole])


def heading(report: ProgramReport) -> str:
    params = ", ".join(f"{name}={parameter(value)}" for name, value in report.params)
    sizes = ", ".join(f"{name}={size}" for name, size in report.sizes)
    heads = plural(report.heads, "head")
    if report.kv_heads != report.heads:
        heads += f" on {report.kv_heads}"
    return f"{report.pattern}({params}) at {sizes}, {heads} of {report.head_dim}"


def _section(step: StepReport, report: ProgramReport) -> tuple[str, *tuple[Line, ...]]:
    match step:
        case PoolStep(name=name, source=source):
            axes = f" over {', '.join(step.axes)}" if step.axes else ""
            tokens = f"{count(step.tokens[1])} from {count(step.tokens[0])}"
            title = f"{name}: {step.reduction} of {source}{axes}"
            pooled: tuple[Line, ...] = (("tokens", tokens), *_cost(step.cost))
            return (title, *pooled)
        case TensorStep(name=name, reads=reads, readout=readout):
            how = "made" if readout is None else readout.replace("_", " ")
            title = f"{name}: {how} of {' and '.join(reads)}" if reads else f"{name}: {how}"
            made: tuple[Line, ...] = (("tokens", count(step.tokens)), *_cost(step.cost))
            return (title, *made)
        case SelectStep(query=query, key=key):
            of = " for ".join(x for x in (key, query) if x is not None)
            return (f"{step.name}: selection of {of}", *_select(step))
        case AttentionStep():
            title = f"{step.name}: attention of {step.query} to {', '.join(step.keys)}"
            return (title + _heads(step.heads, report), *_attention(step))
        case LinearStep():
            title = f"{step.name}: linear attention of {step.query} to {step.key}"
            return (title + _heads(step.heads, report), *_linear(step))
        case _:
            assert_never(step)


def _heads(heads: tuple[int, int], report: ProgramReport) -> str:
    return "" if heads == (0, report.heads) else f", {heads_text(tuple(range(*heads)))}"


def _select(step: SelectStep) -> Iterator[Line]:
    per = f" per {', '.join(step.per)}" if step.per else ""
    yield "rule", f"{step.rule}{per}: {plural(step.choices, 'choice')}"
    found, members = step.candidates, step.members
    scored = "not counted" if found is None else f"{count(found.total)} pairs{_sampled(found)}"
    yield "candidates", scored
    if step.asked is not None:
        yield "asked", f"at most {count(step.asked)} of {count(step.of)} for a choice, by halving"
    if members is not None and step.query and step.key:
        more = f", {three(members.mean)} on average" if members.mean < members.most else ""
        if step.least is not None:
            more += f", at least {three(step.least)} on average: the scores decide"
        yield "chosen", f"at most {count(members.most)} of {count(step.of)} for a query{more}"
    elif members is not None:
        most = members.total / max(step.sets, 1)
        yield "chosen", f"at most {three(most)} of {count(step.of)}"
    yield from _cost(step.cost)
    if step.gradient is not None:
        yield "gradient", f"{step.gradient.replace('_', ' ')}, by the members' weights"


def _attention(step: AttentionStep) -> Iterator[Line]:
    report = step.report
    if not step.sets or step.by_rule is None:
        yield from pair_lines(report.pairs, report.shape)
    else:
        found = step.by_rule
        share = percent(found.total / max(report.shape.pairs, 1))
        what = f"{count(found.total)} of {count(report.shape.pairs)} ({share})"
        sets = " and ".join(step.sets)
        if found.total < report.pairs.at_most:
            yield "pairs", f"at most {what}{_sampled(found)}, by the rule of {sets}"
            yield "keys per query", f"at most {count(found.most)}, on average {three(found.mean)}"
            yield "allowed", f"{count(report.pairs.at_most)} pairs, whatever is chosen"
        else:
            yield "pairs", f"at most {what}: the rule of {sets} bounds nothing"
            yield "keys per query", f"at most {count(found.most)}, on average {three(found.mean)}"
    if step.told:
        yield "forward", "none: numbers alone are read of it"
    else:
        yield from _cost(step.cost)
    if not step.sets:
        yield from tile_lines(report.tiles)
    yield fact_line(report.fact("rows_nonempty"), report.shape)
    causal = report.fact("causal")
    if causal.holds is not None:  # between tokens of different axes there is no order
        yield fact_line(causal, report.shape)
    yield from (("note", note) for note in report.notes)


def _linear(step: LinearStep) -> Iterator[Line]:
    yield "decay", _DECAYS[step.decay] + (", written by the delta rule" if step.delta else "")
    heads = step.heads[1] - step.heads[0]
    yield "state", f"{scaled(step.state, 'B')} for each of {plural(heads, 'head')}, at any length"
    yield from _cost(step.cost)
    for x in step.horizons[:4]:
        yield "horizon", _horizon(x)
    if len(step.horizons) > 4:
        yield "horizon", f"{_horizon(step.horizons[-1])} ({len(step.horizons)} kinds of heads)"
    if step.reads:
        yield "reads", ", ".join(step.reads)
    yield "causal", "yes" if step.causal else "no          every query reads the sum over all keys"


def _horizon(x: Horizon) -> str:
    verb = "forgets" if len(x.heads) == 1 else "forget"
    return f"{heads_text(x.heads)} {verb} within {plural(x.tokens, 'token')} (below 2**-24)"


def _cost(cost: Cost) -> Iterator[Line]:
    """Operations and bytes, with the sums of products that they are."""
    word = "at most " if cost.at_most else ""
    if cost.amount is None:
        yield "forward", "not counted"
    elif cost.operations:
        several = len(cost.operations) > 1
        named = (
            f"{x.formula(count)}{f' of {x.of}' * several}" for x in cost.operations if x.amount
        )
        yield "forward", f"{word}{scaled(cost.amount, 'FLOP')} = {' + '.join(named)}"
    parts = [f"{scaled(x.amount, 'B')} of {x.of}" for x in cost.traffic if x.amount]
    if parts:
        yield "traffic", f"{word}{scaled(cost.bytes, 'B')} = {' + '.join(parts)}"


def _sampled(amount: Amount) -> str:
    return "" if amount.sample is None else f", estimated from {amount.sample} queries"


def _whole(report: ProgramReport) -> Iterator[Line]:
    if report.forward is not None:
        dense = f"dense attention {scaled(report.dense, 'FLOP')}"
        if report.forward:
            dense += f", {three(report.dense / report.forward)} times as much"
        word = "at most " if any(s.cost.at_most for s in report.steps) else ""
        yield "forward", f"{word}{scaled(report.forward, 'FLOP')} ({dense})"
    yield "traffic", f"{scaled(report.traffic, 'B')} of all steps, each tensor read or written once"
    depends = ", ".join(report.depends)
    yield "data-dependent", depends or "nothing: the same pairs for all inputs"
    if report.cache is not None:
        kept = [f"{plural(c.tokens, 'token')} of {c.name}" for c in report.cache]
        yield "kv cache", f"at most {', '.join(kept)}" if kept else "none: states alone"
    if report.state:
        place = "" if report.cache else ", in place of a cache"
        yield "state", f"{scaled(report.state, 'B')} a sequence{place}"
    names = [s.name for s in report.steps if isinstance(s, AttentionStep) and not s.sets]
    if names and "." not in report.pattern:
        yield "one alone", "explain " + " or ".join(f"...:{report.pattern}.{n}" for n in names)
    yield from (("note", note) for note in report.notes)
