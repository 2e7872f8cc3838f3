"""The language model of the examples: what it promises, on tiny sizes."""

import math
import sys
from pathlib import Path

import pytest
import torch

import attnlang

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))

from bytelm import corpus, training  # noqa: E402
from bytelm.model import Decoder, Shape  # noqa: E402
from bytelm.progress import clock  # noqa: E402

TINY = Shape(dim=16, heads=4, kv_heads=2, hidden=24)


def tiny() -> Decoder:
    torch.manual_seed(0)
    attends = [
        attnlang.compile(EXAMPLES / "patterns" / "local_global.attn:local", window=5, sinks=1),
        attnlang.compile(EXAMPLES / "patterns" / "local_global.attn:everywhere"),
    ]
    return Decoder(TINY, attends, context=32)


def random_batches(seed: int = 0) -> list[torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return [torch.randint(256, (2, 33), generator=dice) for _ in range(9)]


def trained(steps: int, *, repeated: bool = False) -> training.Run:
    batches = random_batches()[:1] * (steps + 1) if repeated else random_batches()
    budget = training.Budget(seconds=math.inf, steps=steps)
    return training.train(
        tiny(), iter(batches), batches[0], budget, rate=1e-2, follow=lambda run: None
    )


@torch.no_grad()
def test_no_byte_sees_a_later_one() -> None:
    model, text = tiny(), random_batches()[0][:1, :32]
    changed = text.clone()
    changed[0, 20] = (changed[0, 20] + 1) % 256
    differs = (model(text) != model(changed)).any(-1)[0]
    assert not differs[:20].any()
    assert differs[20:].all()


def test_every_weight_has_a_gradient() -> None:
    model = tiny()
    model.loss(random_batches()[0]).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.parameters())


def test_a_new_model_knows_nothing() -> None:
    assert tiny().loss(random_batches()[0]).item() == pytest.approx(math.log(256), rel=0.05)


def test_the_same_steps_every_time() -> None:
    first, second = trained(4), trained(4)
    assert first.train == second.train
    assert first.held_out == second.held_out
    assert [step for step, _ in first.held_out] == [0, 1, 2, 3, 4]


def test_it_learns_a_text_by_heart() -> None:
    run = trained(8, repeated=True)
    assert run.held_out[-1][1] < run.held_out[0][1] - 0.5


def test_a_loss_that_is_no_number_is_an_error() -> None:
    model = tiny()
    with torch.no_grad():
        model.embed.weight[0, 0] = math.nan
    budget = training.Budget(seconds=math.inf, steps=2)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        training.train(
            model, random_batches(), random_batches()[0], budget, rate=1e-3, follow=lambda run: None
        )


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [training.schedule(share / 100) for share in range(101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.05)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_the_corpus_keeps_files_apart() -> None:
    text = corpus.read(most_bytes=400_000)
    again = corpus.read(most_bytes=400_000)
    assert torch.equal(text.train, again.train)
    assert 0 < len(text.held_out) < len(text.train) < 400_000
    assert text.judged(3, 64).shape == (3, 64)
    batch = next(text.batches(2, 64, torch.Generator().manual_seed(0)))
    assert batch.shape == (2, 64)
    assert 1 < corpus.bits(text.frequency_loss()) < 8


def test_writing_goes_on_from_the_prompt() -> None:
    dice = torch.Generator().manual_seed(0)
    written = tiny().write(torch.arange(16), 5, temperature=1.0, dice=dice)
    assert written.shape == (5,)


def test_a_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 187.2)] == ["0:00", "0:59", "1:00", "3:07"]
