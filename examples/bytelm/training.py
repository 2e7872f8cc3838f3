"""The training loop: so many steps, or so many minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bytelm.model import Decoder

Losses = list[tuple[int, float]]
"""Steps taken, and the loss then in nats a byte."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: after so many steps or, when there is no such number, after so many seconds."""

    seconds: float
    steps: int | None = None

    def used(self, steps: int, seconds: float) -> float:
        """The share of the budget that lies behind, 1.0 at the end."""
        return min(steps / self.steps if self.steps else seconds / self.seconds, 1.0)


@dataclass(slots=True)
class Run:
    """What a run has seen so far."""

    train: Losses = field(default_factory=list)
    held_out: Losses = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    share: float = 0.0

    @property
    def steps(self) -> int:
        return len(self.train)

    @property
    def speed(self) -> float:
        """Bytes a second, judging included."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def recent(self, over: int = 20) -> float:
        """The mean loss of the last batches."""
        last = [loss for _, loss in self.train[-over:]]
        return sum(last) / len(last)


def train(
    model: Decoder,
    batches: Iterable[Tensor],
    judged: Tensor,
    budget: Budget,
    *,
    rate: float,
    follow: Callable[[Run], None],
    judgements: int = 10,
) -> Run:
    """Train until the budget is used up; the held-out loss is taken at even shares of it.

    Raises FloatingPointError when a loss is not finite.
    """
    optimizer = torch.optim.AdamW(grouped(model), lr=rate, betas=(0.9, 0.95))
    run, began = Run(), time.perf_counter()
    for tokens in batches:
        if run.share >= len(run.held_out) / judgements:
            run.held_out.append((run.steps, judge(model, judged)))
        if run.share >= 1:
            return run
        loss = step(model, optimizer, tokens, rate * schedule(run.share))
        run.train.append((run.steps + 1, loss))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {run.steps}")
        run.tokens += tokens[:, 1:].numel()
        run.seconds = time.perf_counter() - began
        run.share = budget.used(run.steps, run.seconds)
        follow(run)
    return run


def step(model: Decoder, optimizer: torch.optim.Optimizer, tokens: Tensor, rate: float) -> float:
    """One update of the weights; the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = model.loss(tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@torch.no_grad()
def judge(model: Decoder, tokens: Tensor) -> float:
    """The loss on text that is not learned from."""
    return model.loss(tokens).item()


def schedule(share: float, warm: float = 0.05, floor: float = 0.05) -> float:
    """The learning rate over the run, as a share of the highest: a ramp, then half a cosine."""
    if share < warm:
        return max(share / warm, 0.02)
    return floor + (1 - floor) * (1 + math.cos(math.pi * (share - warm) / (1 - warm))) / 2


def grouped(model: Decoder) -> list[dict[str, object]]:
    """Weight decay for the matrices, none for the gains of the norms."""
    weights = list(model.parameters())
    return [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": 0.1},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]
