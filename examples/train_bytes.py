"""Train a small language model on this machine's Python sources, on the CPU.

Three layers of four see a window of bytes and the first few, one sees everything before it
(patterns/local_global.attn). Writes metrics.json, loss.png and sample.txt.

    python examples/train_bytes.py                 three minutes
    python examples/train_bytes.py --steps 200     the same weights on every run
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

# Where other programs use the cores too, threads that wait must not spin: ten times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from bytelm import corpus
from bytelm.corpus import Corpus, bits
from bytelm.model import Decoder, Shape
from bytelm.progress import Followed
from rich.console import Console

import attnlang
from attnlang.picture import Series, curve

PATTERNS = Path(__file__).parent / "patterns" / "local_global.attn"
PROMPT = 256
"""Bytes of held-out text that the model goes on from."""


@dataclass(slots=True)
class Run:
    """What a training run has seen: losses in nats a byte, by step."""

    train: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        return len(self.train)


def main() -> None:
    options = arguments()
    torch.manual_seed(options.seed)
    console = Console(soft_wrap=True)
    text = corpus.read()
    model = build(options.context, options.window)
    weights = sum(p.numel() for p in model.parameters())
    console.print(f"{weights / 1e6:.1f} million parameters, {options.context} bytes of context, a window of "
                  f"{options.window} in {len(model.layers) - 1} of {len(model.layers)} layers", highlight=False)  # fmt: skip
    console.print(f"{len(text.train) / 1e6:.1f} MB of Python from {text.files} files to learn from, "
                  f"{len(text.held_out) / 1e6:.1f} MB held out", highlight=False)  # fmt: skip
    run = train(model, text, options, console)
    report(model, text, run, options, console)


def build(context: int, window: int) -> Decoder:
    """Three layers look nearby, the last one everywhere."""
    local = attnlang.compile(f"{PATTERNS}:local", window=window)
    everywhere = attnlang.compile(f"{PATTERNS}:everywhere")
    return Decoder(Shape(), [local, local, local, everywhere], context)


def train(model: Decoder, text: Corpus, options: argparse.Namespace, console: Console) -> Run:
    """Steps until the time or the number of steps is used up."""
    optimizer = torch.optim.AdamW(grouped(model), lr=options.rate, betas=(0.9, 0.95))
    dice = torch.Generator().manual_seed(options.seed)
    judged = text.judged(8, options.context + 1)
    run, began, tick, share = Run(), time.perf_counter(), 0, 0.0
    with Followed(console) as follow:
        for tokens in text.batches(options.batch, options.context + 1, dice):
            if share >= tick / 10:
                run.held_out.append((run.steps, judge(model, judged)))
                tick += 1
            if share >= 1:
                break
            loss = step(model, optimizer, tokens, options.rate * schedule(share))
            run.train.append((run.steps + 1, loss))
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {run.steps}")
            run.seconds = time.perf_counter() - began
            share = min(done(run, options), 1.0)
            speed = run.steps * options.batch * options.context / run.seconds
            follow(share, f"step {run.steps:>4}  loss {smooth(run.train):.3f}  "
                          f"held out {run.held_out[-1][1]:.3f}  {speed:>6,.0f} bytes/s")  # fmt: skip
    return run


def step(model: Decoder, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, rate: float) -> float:
    """One update of the weights; the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = model.loss(tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def grouped(model: Decoder) -> list[dict[str, object]]:
    """Weight decay for the matrices, none for the gains of the norms."""
    weights = list(model.parameters())
    return [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": 0.1},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]


def schedule(share: float, warm: float = 0.03, floor: float = 0.05) -> float:
    """The learning rate over the run: up in a line, down in half a cosine."""
    if share < warm:
        return max(share / warm, 0.01)
    return floor + (1 - floor) * (1 + math.cos(math.pi * (share - warm) / (1 - warm))) / 2


def done(run: Run, options: argparse.Namespace) -> float:
    """The share of the run that lies behind."""
    if options.steps:
        return run.steps / options.steps
    return run.seconds / (60 * options.minutes)


@torch.no_grad()
def judge(model: Decoder, judged: torch.Tensor) -> float:
    return model.loss(judged).item()


def smooth(losses: list[tuple[int, float]], over: int = 10) -> float:
    last = [loss for _, loss in losses[-over:]]
    return sum(last) / len(last)


def report(
    model: Decoder, text: Corpus, run: Run, options: argparse.Namespace, console: Console
) -> None:
    """The files of the run, and its figures in words."""
    options.out.mkdir(parents=True, exist_ok=True)
    final, guess = run.held_out[-1][1], text.frequency_loss()
    tokens = run.steps * options.batch * options.context
    metrics = {
        "seed": options.seed, "context": options.context, "window": options.window,
        "batch": options.batch, "parameters": sum(p.numel() for p in model.parameters()),
        "steps": run.steps, "bytes_seen": tokens, "seconds": round(run.seconds, 1),
        "bytes_per_second": round(tokens / run.seconds), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "train_loss": round(smooth(run.train), 4),
        "held_out_loss": round(final, 4), "held_out_bits_per_byte": round(bits(final), 4),
        "byte_frequency_bits_per_byte": round(bits(guess), 4),
        "losses": run.train, "held_out_losses": run.held_out,
    }  # fmt: skip
    (options.out / "metrics.json").write_text(json.dumps(metrics) + "\n")
    lines = (
        Series("training batch", *zip(*run.train, strict=True)),
        Series("held-out files", *zip(*run.held_out, strict=True)),
    )
    curve.write(options.out / "loss.png", lines, title="A byte-level language model on Python sources",
                xlabel="step", ylabel="loss (nats a byte)")  # fmt: skip
    console.print(f"{run.steps} steps, {tokens / 1e6:.2f} million bytes in {run.seconds:.0f} s. On held-out files "
                  f"{bits(final):.2f} bits a byte; byte frequencies alone give {bits(guess):.2f}.", highlight=False)  # fmt: skip
    sample(model, text, options, console)


def sample(model: Decoder, text: Corpus, options: argparse.Namespace, console: Console) -> None:
    """What the model writes after the start of a held-out file."""
    prompt = text.held_out[:PROMPT].long()
    dice = torch.Generator().manual_seed(options.seed)
    written = model.write(prompt, options.sample, temperature=0.7, dice=dice)
    shown = bytes(written.tolist()).decode("utf-8", errors="replace")
    (options.out / "sample.txt").write_text(shown)
    console.print(f"\nIt goes on from a held-out file like this:\n\n{shown}", markup=False, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=3.0, help="train for so long (default: 3)")
    length.add_argument("--steps", type=int, help="train so many steps instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the results")
    parser.add_argument("--context", type=int, default=1024, help="bytes of a training text (default: 1024)")
    parser.add_argument("--window", type=int, default=128, help="bytes a local layer sees (default: 128)")
    parser.add_argument("--batch", type=int, default=4, help="texts a step (default: 4)")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate (default: 0.003)")
    parser.add_argument("--sample", type=int, default=300, help="bytes to write at the end (default: 300)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
