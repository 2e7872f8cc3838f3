"""Prefixes, regions and roles of tokens. Catalogue: llm.md; i is the query, j the key."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Ints, Mask, between_by_batch, pairs, pairs_by_head

Bools = npt.NDArray[np.bool_]


def croc_mixed(
    sizes: Mapping[str, int], heads: int = 1, *, prefix: Ints, pad: Bools | None = None
) -> Mask:
    """The prefix of each sample for everybody, then causal attention to what is no padding."""
    n = sizes["n"]

    def rule(b: int, i: int, j: int) -> bool:
        padding = pad is not None and bool(pad[b, j])
        return bool(j < prefix[b]) or (j <= i and not padding)

    return between_by_batch(len(prefix), n, n, rule)


def transvg_joint(sizes: Mapping[str, int], heads: int = 1, *, pad: Bools) -> Mask:
    """[REG | tokens]: everybody sees the first token, and all others that are no padding."""
    length = 1 + sizes["n"]
    return between_by_batch(len(pad), length, length, lambda b, i, j: j == 0 or not pad[b, j - 1])


def yopo_neighbor(
    sizes: Mapping[str, int], heads: int = 1, *, window: int = 5, prefix: int = 35, grid: int = 24
) -> Mask:
    """Causal; among the visual tokens, the image's neighbours instead."""
    n, radius = sizes["n"], int((window - 1) / 2)
    pixels = [(r, c) for r in range(grid) for c in range(grid)]

    def rule(i: int, j: int) -> bool:
        if n > len(pixels) and i in visual and j in visual:
            (r_i, c_i), (r_j, c_j) = pixels[i - prefix], pixels[j - prefix]
            return abs(r_i - r_j) <= radius and abs(c_i - c_j) <= radius
        return j <= i

    visual = range(prefix, prefix + len(pixels))
    return pairs(n, rule)


def isolation_attn(
    sizes: Mapping[str, int], heads: int = 1, *, subject: Ints, reference_subject: Ints
) -> Mask:
    """Keys [reference | image]: a subject's own references; the image but for other subjects."""
    n, references = sizes["n"], sizes["reference"]

    def rule(b: int, i: int, key: int) -> bool:
        mine = subject[b, i]
        if key < references:
            return bool(mine > 0 and reference_subject[b, key] == mine)
        return bool(mine == 0 or subject[b, key - references] in (0, mine))

    return between_by_batch(len(subject), n, references + n, rule)


def region_cross(sizes: Mapping[str, int], heads: int = 1, *, fg: Bools, subject: Bools) -> Mask:
    """The words of the subject are hidden from what lies outside its region."""

    def rule(b: int, i: int, j: int) -> bool:
        return not (subject[b, j] and not fg[b, i])

    return between_by_batch(len(fg), sizes["n"], sizes["t"], rule)


def mixformer_asym(sizes: Mapping[str, int], heads: int = 1, *, role: Ints) -> Mask:
    """The search region (role 0) sees all, templates see templates."""
    return pairs(sizes["n"], lambda i, j: bool(role[i] == 0 or role[j] != 0))


def agile_click(sizes: Mapping[str, int], heads: int = 1, *, objects: Ints, labels: Ints) -> Mask:
    """Clicks see the points of their object, before the rule for objects that own none."""

    def rule(b: int, i: int, j: int) -> bool:
        return bool(labels[b, j] == objects[b, i])

    return between_by_batch(len(labels), sizes["c"], sizes["p"], rule)


def ditctrl_fgbg(
    sizes: Mapping[str, int], heads: int = 1, *, text: Bools, ms: Bools, mt: Bools
) -> Mask:
    """O_fg sees text and the source's foreground, O_bg text and the rest; text rows see everything."""

    def rule(b: int, i: int, j: int) -> bool:
        foreground = {x for x in range(sizes["n"]) if text[x] or ms[b, x]}
        background = {x for x in range(sizes["n"]) if text[x] or not ms[b, x]}
        return bool(text[i] or j in (foreground if mt[b, i] else background))

    return between_by_batch(len(ms), sizes["n"], sizes["n"], rule)


def dyvte(sizes: Mapping[str, int], heads: int = 1, *, image: Bools, exited: Bools) -> Mask:
    """Causal; where the image has left, among the text alone."""

    def rule(b: int, i: int, j: int) -> bool:
        there = [x for x in range(sizes["n"]) if not (exited[b] and image[b, x])]
        return j <= i and i in there and j in there

    return between_by_batch(len(image), sizes["n"], sizes["n"], rule)


def hop_distances(n: int, bones: list[tuple[int, int]]) -> Ints:
    """How many bones apart any two joints are: breadth first; unconnected ones are n apart."""
    distance = np.full((n, n), n)
    for start in range(n):
        distance[start, start] = 0
        front, hops = [start], 0
        while front:
            hops += 1
            ahead = [b for a in front for bone in bones if a in bone for b in bone if b != a]
            front = [b for b in set(ahead) if distance[start, b] > hops]
            for b in front:
                distance[start, b] = hops
    return distance


def khop_groups(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    hops: int | list[int] = 1,
    group: str = "ring",
    graph: Ints,
) -> Mask:
    """Joints exactly (ring) or at most (within) so many bones away, for each head."""
    by_head = [hops] * heads if isinstance(hops, int) else hops

    def rule(h: int, i: int, j: int) -> bool:
        d = int(graph[i, j])
        return d == by_head[h] if group == "ring" else d <= by_head[h]

    return pairs_by_head(sizes["n"], heads, rule)
