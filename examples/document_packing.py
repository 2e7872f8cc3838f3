"""Pack texts of different lengths into one sequence, without letting them see each other.

python examples/document_packing.py
"""

import torch

import attnlang

LENGTHS = (700, 80, 1200, 64, 4)


def main() -> None:
    torch.manual_seed(0)
    documents = [torch.randn(length, 8 * 32) for length in LENGTHS]

    # One sequence, and for every token the number of its document.
    tokens = torch.cat(documents).requires_grad_()
    doc = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))[None]

    attend = attnlang.compile("stdlib:lca_causal_document")
    packed = attend(heads(tokens), heads(tokens), heads(tokens), doc=doc)
    packed.sin().sum().backward()

    # The same as attending in each document by itself, gradients included.
    causal = attnlang.compile("stdlib:causal")
    for d in documents:
        d.requires_grad_()
    apart = torch.cat([causal(heads(d), heads(d), heads(d)) for d in documents], dim=2)
    apart.sin().sum().backward()
    grads = torch.cat([d.grad for d in documents])
    print(f"{len(LENGTHS)} documents, {len(tokens)} tokens in one sequence")
    print(f"largest difference from one by one: {(packed - apart).abs().max():.1e}")
    print(f"of the gradients: {(tokens.grad - grads).abs().max():.1e}")

    plan = attend.pattern.plan({"n": len(tokens)}, heads=8, doc=doc)
    alone = causal.pattern.plan({"n": len(tokens)}, heads=8)
    print(f"{plan.density:.1%} of the pairs attend, {alone.density:.1%} if all were one document")
    print(f"tiles: {plan.tiles}")


def heads(x: torch.Tensor) -> torch.Tensor:
    """``[tokens, 8 * 32]`` as ``[1, 8, tokens, 32]``."""
    return x.unflatten(1, (8, 32)).transpose(0, 1)[None]


if __name__ == "__main__":
    main()
