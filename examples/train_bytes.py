"""Train a small language model on this machine's Python sources, on the CPU.

Three layers of four see a window of bytes and the first few, the last one everything before it
(patterns/local_global.attn). Writes metrics.json, loss.png and sample.txt.

    python examples/train_bytes.py                 three minutes
    python examples/train_bytes.py --steps 200     the same steps on every run
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import mean

# Where other programs use the cores too, threads that wait must not spin: it costs far more.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from bytelm import corpus
from bytelm.corpus import Corpus, bits
from bytelm.model import Decoder, Shape
from bytelm.progress import Follow
from bytelm.training import Budget, Losses, Run, train
from rich.console import Console

import attnlang
from attnlang.picture import Series, curve

PATTERNS = Path(__file__).parent / "patterns" / "local_global.attn"
PROMPT, SHOWN = 256, 160
"""Bytes of held-out text that the model goes on from, and how many of them are printed."""


def main() -> None:
    options = arguments()
    torch.manual_seed(options.seed)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    text = corpus.read()
    model = build(options.context, options.window)
    console.print(introduction(model, text, options))
    with Follow(console) as follow:
        run = train(
            model,
            text.batches(
                options.batch, options.context + 1, torch.Generator().manual_seed(options.seed)
            ),
            text.judged(8, options.context + 1),
            Budget(60 * options.minutes, options.steps),
            rate=options.rate,
            follow=follow,
        )
    measured = figures(model, text, run, options)
    console.print(conclusion(run, measured))
    prompt = text.held_out[: min(PROMPT, options.context)].long()
    written = sample(model, prompt, options)
    console.print(f"\nAfter the start of a held-out file,\n\n{shown(prompt)[-SHOWN:]}")
    console.print(f"\nit goes on:\n\n{written}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "metrics.json").write_text(json.dumps(measured) + "\n")
    (options.out / "sample.txt").write_text(written + "\n")
    draw(run, options.out / "loss.png")


def build(context: int, window: int) -> Decoder:
    """Three layers look nearby, the last one everywhere."""
    local = attnlang.compile(f"{PATTERNS}:local", window=window)
    everywhere = attnlang.compile(f"{PATTERNS}:everywhere")
    return Decoder(Shape(), [local, local, local, everywhere], context)


def introduction(model: Decoder, text: Corpus, options: argparse.Namespace) -> str:
    """What is going to happen, in words."""
    weights, layers = sum(p.numel() for p in model.parameters()), len(model.layers)
    return (
        f"A model of {weights / 1e6:.1f} million weights with {options.context} bytes of context.\n"
        f"{layers - 1} of its {layers} layers see only the last {options.window} bytes and the "
        f"first 4.\nText: {len(text.train) / 1e6:.1f} MB of Python from {text.files} files to "
        f"learn from, {len(text.held_out) / 1e6:.1f} MB held out.\n"
    )


def conclusion(run: Run, measured: dict[str, object]) -> str:
    """What came of it, in words."""
    return (
        f"\n{run.steps} steps, {run.tokens / 1e6:.2f} million bytes in {run.seconds:.0f} s. On "
        f"held-out files {measured['held_out_bits_per_byte']:.2f} bits a byte;\nto know only how "
        f"frequent each byte is gives {measured['byte_frequency_bits_per_byte']:.2f}, to know "
        "nothing 8.00."
    )


def figures(
    model: Decoder, text: Corpus, run: Run, options: argparse.Namespace
) -> dict[str, object]:
    """What was run and what came of it."""
    return {
        "seed": options.seed, "context": options.context, "window": options.window,
        "batch": options.batch, "rate": options.rate,
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        "steps": run.steps, "bytes_seen": run.tokens, "seconds": round(run.seconds, 1),
        "bytes_per_second": round(run.speed), "train_loss": round(run.recent(), 4),
        "held_out_loss": round(run.held_out[-1][1], 4),
        "held_out_bits_per_byte": round(bits(run.held_out[-1][1]), 4),
        "byte_frequency_bits_per_byte": round(bits(text.frequency_loss()), 4),
        "train": run.train, "held_out": run.held_out,
    }  # fmt: skip


def sample(model: Decoder, prompt: torch.Tensor, options: argparse.Namespace) -> str:
    """What the model writes after a prompt."""
    dice = torch.Generator().manual_seed(options.seed)
    return shown(model.write(prompt, options.sample, temperature=0.7, dice=dice))


def shown(text: torch.Tensor) -> str:
    """Bytes as text; what is no text, and what a terminal would act on, as �."""
    characters = bytes(text.tolist()).decode("utf-8", errors="replace")
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in characters
    )


def draw(run: Run, path: Path) -> None:
    """The losses as a picture."""
    lines = (
        ("training, mean of 20 batches", averaged(run.train)),
        ("held-out files", run.held_out),
    )
    series = tuple(
        Series(label, [step for step, _ in losses], [loss for _, loss in losses])
        for label, losses in lines
    )
    title = "A byte-level language model on Python sources"
    curve.write(path, series, title=title, xlabel="step", ylabel="loss (nats a byte)")


def averaged(losses: Losses, over: int = 20) -> Losses:
    """Each loss as the mean of the last few."""
    means = (
        mean(loss for _, loss in losses[max(i - over, 0) : i]) for i in range(1, len(losses) + 1)
    )
    return [(step, m) for (step, _), m in zip(losses, means, strict=True)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=3.0, help="train so long (default: 3)")
    length.add_argument("--steps", type=int, help="train so many steps instead")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and sample")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for results")
    parser.add_argument("--context", type=int, default=1024, help="bytes a text (default: 1024)")
    parser.add_argument("--window", type=int, default=128, help="of local layers (default: 128)")
    parser.add_argument("--batch", type=int, default=2, help="texts a step (default: 2)")
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="peak learning rate (default: 0.001)"
    )
    parser.add_argument("--sample", type=int, default=300, help="bytes to write (default: 300)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
