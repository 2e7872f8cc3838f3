"""Masks of the Long-Context Attention Benchmark, by its flex predicates.

The kernels of the benchmark disagree; llm.md takes these. `window` counts the keys beside the
query, `prefix` is the last index that all see, and blocks count from the start of the sequence,
not of the document.
"""

from collections.abc import Mapping

from tests.oracles.loops import Ints, Mask, pairs, pairs_by_batch


def lca_causal_document(sizes: Mapping[str, int], heads: int = 1, *, doc: Ints) -> Mask:
    """Causal inside a document; doc is int [batch, n]."""
    return pairs_by_batch(sizes["n"], doc, lambda d, i, j: bool(d[i] == d[j]) and j <= i)


def lca_full_document(sizes: Mapping[str, int], heads: int = 1, *, doc: Ints) -> Mask:
    """Everything inside a document; doc is int [batch, n]."""
    return pairs_by_batch(sizes["n"], doc, lambda d, i, j: bool(d[i] == d[j]))


def lca_full(sizes: Mapping[str, int], heads: int = 1) -> Mask:
    """Every pair."""
    return pairs(sizes["n"], lambda i, j: True)


def lca_causal(sizes: Mapping[str, int], heads: int = 1) -> Mask:
    """`j <= i`."""
    return pairs(sizes["n"], lambda i, j: j <= i)


def lca_share_question(sizes: Mapping[str, int], heads: int = 1, *, doc: Ints) -> Mask:
    """Causal inside a document; document 0, the question, is seen by all others whole."""

    def rule(d: Ints, i: int, j: int) -> bool:
        return bool(d[i] == d[j] and j <= i) or bool(d[i] != 0 and d[j] == 0)

    return pairs_by_batch(sizes["n"], doc, rule)


def lca_sliding_window(sizes: Mapping[str, int], heads: int = 1, *, window: int) -> Mask:
    """`window` keys on each side: `|i - j| <= w`."""
    return pairs(sizes["n"], lambda i, j: abs(i - j) <= window)


def lca_sliding_window_causal(sizes: Mapping[str, int], heads: int = 1, *, window: int) -> Mask:
    """`window` keys to the left: `0 <= i - j <= w`."""
    return pairs(sizes["n"], lambda i, j: 0 <= i - j <= window)


def lca_prefix_lm_causal(sizes: Mapping[str, int], heads: int = 1, *, prefix: int) -> Mask:
    """Causal, and the keys 0 .. prefix (inclusive) for everybody."""
    return pairs(sizes["n"], lambda i, j: j <= i or j <= prefix)


def lca_prefix_lm_document(
    sizes: Mapping[str, int], heads: int = 1, *, prefix: int, doc: Ints, start: Ints
) -> Mask:
    """Causal in a document, and its tokens 0 .. prefix (inclusive) for all of it.

    A document's first token is found here; `start` only has to say the same.
    """
    for row, said in zip(doc, start, strict=True):
        if [list(row).index(d) for d in row] != list(said):
            raise ValueError("`start` is not where the documents start")

    def rule(d: Ints, i: int, j: int) -> bool:
        offset = list(d).index(d[j])
        return bool(d[i] == d[j]) and (j <= i or j - offset <= prefix)

    return pairs_by_batch(sizes["n"], doc, rule)


def lca_causal_blockwise(
    sizes: Mapping[str, int], heads: int = 1, *, doc: Ints, last: Ints
) -> Mask:
    """Causal in a document; the last document sees all the others whole."""
    if [max(row) for row in doc] != list(last):
        raise ValueError("`last` is not the last document")

    def rule(d: Ints, i: int, j: int) -> bool:
        final = max(d)
        return bool(d[i] == d[j] and j <= i) or bool(d[i] == final and d[j] != final)

    return pairs_by_batch(sizes["n"], doc, rule)


def lca_global_sliding_window(sizes: Mapping[str, int], heads: int = 1, *, window: int) -> Mask:
    """A two-sided window, and the first 2 * window tokens see and are seen by all."""
    return pairs(sizes["n"], lambda i, j: abs(i - j) <= window or i < 2 * window or j < 2 * window)


def lca_block_causal_document(
    sizes: Mapping[str, int], heads: int = 1, *, block: int, doc: Ints
) -> Mask:
    """Inside a document, all keys up to the end of the query's block of the sequence."""
    return pairs_by_batch(
        sizes["n"], doc, lambda d, i, j: bool(d[i] == d[j]) and j < (i // block + 1) * block
    )
