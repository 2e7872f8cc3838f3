"""For each pattern the call that is drawn, small, and the one whose pairs are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sizes = Mapping[str, int]
Inputs = dict[str, Any]

SMALL: dict[tuple[str, ...], dict[str, int]] = {
    ("n",): {"n": 64},
    ("y", "x"): {"y": 8, "x": 8},
    ("t", "y", "x"): {"t": 4, "y": 4, "x": 4},
    ("t", "s"): {"t": 8, "s": 8},
    ("t", "v"): {"t": 4, "v": 12},
}
LARGE: dict[tuple[str, ...], dict[str, int]] = {
    ("n",): {"n": 8192},
    ("y", "x"): {"y": 56, "x": 56},
    ("t", "y", "x"): {"t": 16, "y": 32, "x": 32},
    ("t", "s"): {"t": 16, "s": 196},
    ("t", "v"): {"t": 64, "v": 24},
}


def nothing(sizes: Sizes) -> Inputs:
    return {}


@dataclass(frozen=True, slots=True)
class Shown:
    """How a pattern is shown; what is not said follows from its axes.

    params, small: of the picture. large: the sizes that are counted, with the pattern's defaults.
    heads: how many the picture's call has, and those drawn. inputs: run-time tensors at any sizes.
    """

    params: dict[str, object] = field(default_factory=dict)
    small: dict[str, int] | None = None
    large: dict[str, int] | None = None
    heads: tuple[int, tuple[int, ...]] = (1, (0,))
    inputs: Callable[[Sizes], Inputs] = nothing
    tile: Any = 8


def documents(n: int) -> NDArray[np.int64]:
    """Five documents of different lengths, in every 64 tokens 20, 6, 17, 9 and 12."""
    ends = np.cumsum([20, 6, 17, 9, 12]) * n // 64
    return np.searchsorted(ends, np.arange(n), side="right")


def docs(sizes: Sizes) -> Inputs:
    return {"doc": documents(sizes["n"])[None]}


def alone(sizes: Sizes) -> Inputs:
    return {"doc": np.zeros((1, sizes["n"]), dtype=np.int64)}


def starts(sizes: Sizes) -> Inputs:
    doc = documents(sizes["n"])
    return {"doc": doc[None], "start": np.searchsorted(doc, doc)[None]}


def best_blocks(heads: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """In every row the best quarter of random scores."""
    scores = np.random.default_rng(0).random((heads, rows, columns))
    least = np.sort(scores, -1)[..., -max(1, columns // 4), None]
    return np.asarray(scores >= least)


def uniform_blocks(sizes: Sizes) -> Inputs:
    """Blocks of 8 in a picture, of 128 otherwise."""
    count = sizes["n"] // (8 if sizes["n"] <= 64 else 128)
    return {"blocks": best_blocks(sizes["heads"], count, count)}


def variable_blocks(sizes: Sizes) -> Inputs:
    """Sixteen blocks of queries and of keys, no two of one length."""
    n = sizes["n"]
    ends = np.cumsum([np.roll(np.arange(1, 17), shift) for shift in (0, 5)], 1) * n // 136
    row, column = (np.searchsorted(e, np.arange(n), side="right") for e in ends)
    return {"row": row, "column": column, "blocks": best_blocks(sizes["heads"], 16, 16)}


def last(sizes: Sizes) -> Inputs:
    return {**docs(sizes), "last": np.array([4])}


def spans(sizes: Sizes) -> Inputs:
    """Each head's share of the length: an eighth to five eighths, as published plans have."""
    heads = sizes["heads"]
    shares = np.resize([0.125, 0.625, 0.25, 0.125], heads)
    return {"alpha": np.zeros(heads), "beta": shares}


def subjects(sizes: Sizes) -> Inputs:
    """The background, two subjects, and references of each."""
    n, references = sizes["n"], sizes["reference"]
    return {
        "subject": (np.arange(n) * 4 // n % 3)[None],
        "reference_subject": (1 + np.arange(references) * 2 // references)[None],
    }


def regions(sizes: Sizes) -> Inputs:
    """A region of a quarter of the image; three words in ten are the subject's."""
    n, t = sizes["n"], sizes["t"]
    inside = (np.arange(n) >= 3 * n // 8) & (np.arange(n) < 5 * n // 8)
    return {"fg": inside[None], "subject": (np.arange(t) % 10 < 3)[None]}


def clicks(sizes: Sizes) -> Inputs:
    """Three objects' clicks; every point has one of their labels, in patches."""
    c, p = sizes["c"], sizes["p"]
    return {"objects": (np.arange(c) * 3 // c)[None], "labels": (np.arange(p) * 7 // p % 3)[None]}


def chain(sizes: Sizes) -> Inputs:
    """A skeleton's arms and legs as one chain of joints."""
    place = np.arange(sizes["n"])
    return {"graph": np.abs(place[:, None] - place[None, :])}


def nested(sizes: Sizes) -> Inputs:
    """Sections of paragraphs of one length: 8 paragraphs in a picture, 64 otherwise."""
    groups = 8 if sizes["n"] <= 64 else 64
    parents = np.arange(sizes["n"]) * groups // sizes["n"]
    return {"tree": np.concatenate([parents, np.arange(groups) // (8 if groups > 8 else 4)])[None]}


def samples(sizes: Sizes) -> Inputs:
    """Keys drawn a few at a time, of every eight the third."""
    drawn = np.arange(sizes["n"]) % 8 == 2
    return {"drawn": np.tile(drawn * 1, (1, sizes["heads"], 1))}


def limbs(sizes: Sizes) -> Inputs:
    """Joints of four limbs, in every twelve slots one that is of none."""
    joints = np.arange(sizes["v"])
    return {"group": np.where(joints % 12 == 11, -1, joints % 12 // 3)}


def joints(sizes: Sizes) -> Inputs:
    """Patches with a joint: an upright figure in the middle third of a square image."""
    n = sizes["n"]
    place = np.arange(n) % round(n**0.5) * 3 // round(n**0.5)
    return {"pose": (place == 1)[None]}


def scales(sizes: Sizes) -> Inputs:
    """Maps of 1, 2, 4, ... tokens a side, one after another; the last as far as the length goes."""
    sides = 2 ** np.arange(16)
    level = np.repeat(np.arange(16), np.minimum(sides**2, sizes["n"]))[: sizes["n"]]
    place = np.arange(sizes["n"]) - np.searchsorted(level, level)
    side = sides[level]
    at = {"row": place // side, "column": place % side, "height": side, "width": side}
    return {"level": level, **at}


def pictured(n: int) -> NDArray[np.bool_]:
    """An image in a prompt: from an eighth to five eighths of it."""
    place = np.arange(n)
    return (place >= n // 8) & (place < 5 * n // 8)


def late(sizes: Sizes) -> Inputs:
    """The last eighth is padding."""
    return {"pad": (np.arange(sizes["n"]) >= 7 * sizes["n"] // 8)[None]}


def fore_and_background(sizes: Sizes) -> Inputs:
    """Text, then frames whose foreground lies elsewhere in the source than in the target."""
    place = np.arange(sizes["n"]) * 64 // sizes["n"]
    source, target = (place % 14 >= 9)[None], (place % 14 < 6)[None]
    return {"text": place < 8, "ms": source, "mt": target}


SUMS = (
    "aaren", "based_taylor", "cosformer", "delta_net", "dsf_normalized", "gated_delta_net", "gla",
    "lightning_attention", "pavlov_linear", "performer", "retention", "sala_linear", "simple_gla",
    "transnormer_gla",
)  # fmt: skip
"""Linear attentions, whose documents may be left out."""

SHOWN: dict[str, Shown] = {
    # Language models.
    "sliding_window": Shown({"window": 20}),
    "streaming_sink": Shown({"sinks": 4, "window": 12}),
    "based_swa": Shown({"window": 16}),
    "longlora_s2": Shown(heads=(2, (0, 1))),
    "sinklora_sf": Shown(heads=(2, (0, 1)), params={"restored": 0.0}),
    "s2_local_stride": Shown(
        {"block": 4, "local_blocks": 3, "vert_stride": 4},
        large={"n": 4096},
        heads=(4, (0, 1)),
        tile=4,
    ),
    "moa_elastic": Shown(
        {"sinks": 4, "block": 4, "new_tokens": 0}, heads=(2, (0, 1)), inputs=spans, tile=4
    ),
    "mega_chunk": Shown({"chunk": 16}),
    "sink_logit": Shown(inputs=lambda s: {"sink": np.zeros(s["heads"])}),
    "titans_mac": Shown(
        {"segment": 16, "persistent": 4, "memory": 4},
        {"n": 48},
    ),
    "titans_mag": Shown({"window": 12, "persistent": 6}, {"n": 58}),
    "bidir_or_causal": Shown(inputs=late),
    "disentangled_bias": Shown(inputs=late),
    # Edited weights, gated heads, tokens that leave.
    "act_calibration": Shown({"alpha": 1.0}),
    "var_redistribution": Shown(inputs=lambda s: {"image": pictured(s["n"])[None]}),
    "tcpa_prompt": Shown({"groups": 6, "length": 2, "topk": 2, "dim": 8}, {"n": 36}, {"n": 196}),
    "score_inject": Shown({"places": 8}),
    "bam_moa": Shown({"experts": 1}),
    "head_roles": Shown(
        {"window": 12},
        heads=(2, (0, 1)),
        inputs=lambda s: {"retrieval": np.arange(s["heads"]) % 2 == 0},
    ),
    "dyvte": Shown(inputs=lambda s: {"image": pictured(s["n"])[None], "exited": np.array([True])}),
    "vtc_cls": Shown({"keep": 12}, {"n": 63}, {"n": 576}),
    "adaptinfer": Shown({"keep": 8}, inputs=lambda s: {"image": pictured(s["n"])[None]}),
    "ditctrl_fgbg": Shown(inputs=fore_and_background),
    # Benchmark masks.
    "cab_local": Shown({"window": 6}),
    "lca_block_causal_document": Shown({"block": 16}, inputs=docs),
    "lca_causal_blockwise": Shown(inputs=last),
    "lca_causal_document": Shown(inputs=docs),
    "lca_full_document": Shown(inputs=docs),
    "lca_global_sliding_window": Shown({"window": 5}),
    "lca_prefix_lm_causal": Shown({"prefix": 15}),
    "lca_prefix_lm_document": Shown({"prefix": 5}, inputs=starts),
    "lca_share_question": Shown(inputs=docs),
    "lca_sliding_window": Shown({"window": 10}),
    "lca_sliding_window_causal": Shown({"window": 10}),
    "lca_uniform_block_sparse": Shown({"block": 8}, inputs=uniform_blocks),
    "lca_variable_block_sparse": Shown(inputs=variable_blocks, tile=4),
    # Images and text, roles, graphs.
    "croc_mixed": Shown(inputs=lambda s: {"prefix": np.array([3 * s["n"] // 8]), "pad": None}),
    "transvg_joint": Shown(
        small={"n": 63},
        large={"n": 440},
        inputs=late,
    ),
    "yopo_neighbor": Shown({"prefix": 8, "grid": 6, "window": 3}, large={"n": 1024}),
    "isolation_attn": Shown(
        small={"n": 48, "reference": 16}, large={"n": 4096, "reference": 1024}, inputs=subjects
    ),
    "region_cross": Shown(
        small={"n": 64, "t": 20}, large={"n": 4096, "t": 77}, inputs=regions, tile=(8, 4)
    ),
    # What is chosen.
    "biformer_bra": Shown({"regions": 4, "topk": 3}),
    "seer_attention": Shown({"block": 8, "threshold": 0.2, "dense": 1}),
    "infllm_v2": Shown({"block": 4, "kernel": 4, "stride": 2, "topk": 4, "local": 1}),
    "hyper_attention": Shown({"block": 8, "samples": 8, "projections": 4}, inputs=samples),
    "vmoba": Shown({"block_y": 2, "block_x": 2}),
    "probsparse": Shown({"factor": 2}, {"n": 64, "m": 64}, {"n": 8192, "m": 8192}),
    "acmil_stkim": Shown({"top": 16}, {"branch": 8, "n": 64}, {"branch": 5, "n": 8192}),
    "adem_vl": Shown({"drop": 0.5}, {"n": 32, "m": 64}, {"n": 512, "m": 320}),
    "bvr_keysample": Shown(
        {"topk": 6},
        {"y": 6, "x": 6, "kind": 2, "point": 16},
        {"y": 50, "x": 68, "kind": 2, "point": 100},
    ),
    "hsa_tree": Shown({"groups": 8, "outers": 2}, inputs=nested),
    "mixformer_asym": Shown(
        large={"n": 452}, inputs=lambda s: {"role": (np.arange(s["n"]) < s["n"] * 2 // 7) * 1}
    ),
    "agile_click": Shown(
        small={"c": 16, "p": 64}, large={"c": 32, "p": 8192}, inputs=clicks, tile=(4, 8)
    ),
    "khop_groups": Shown(
        {"hops": (1, 2)}, {"n": 17}, {"n": 17}, (2, (0, 1)), inputs=chain, tile=(4, 4)
    ),
    "dcal_pwca": Shown(small={"n": 32, "other": 32}, large={"n": 196, "other": 196}),
    # Linear attention.
    **dict.fromkeys(SUMS, Shown(inputs=alone)),
    "sala": Shown({"block": 16, "topk": 3, "local": 0}, {"n": 96}),
    "relu_attention_rf": Shown(
        small={"m": 16, "n": 64},
        large={"m": 1, "n": 8192},
        inputs=late,
        tile=(4, 8),
    ),
    # Images and video.
    "neighborhood_1d": Shown({"window": 13}),
    "neighborhood_2d": Shown({"window": 3}, tile=(2, 4)),
    "neighborhood_3d": Shown({"window": 3}, tile=(2, 2, 2)),
    "gna_extra": Shown(
        {"window": 3},
        {"t": 4, "y": 4, "x": 4, "extra": 8},
        {"t": 16, "y": 32, "x": 32, "extra": 256},
        tile=(2, 2, 2),
    ),
    "halo_2d": Shown({"block": 4, "halo": 1}, tile=(2, 4)),
    "maxvit_block": Shown({"window": 4}, tile=(2, 4)),
    "maxvit_grid": Shown({"grid": 2}, tile=(2, 4)),
    "swin_window": Shown({"window": 4, "shift": 2}, tile=(2, 4)),
    "davit_window": Shown({"window": 4}, tile=(2, 4)),
    "gcvit_global": Shown({"window": 4}, tile=(2, 4)),
    "local_corr_2d": Shown({"radius": 2}, tile=(2, 4)),
    "msa_conv": Shown({"kernel": 3, "dilation": 2}, tile=(2, 4)),
    "poly_window": Shown(
        {"window": 4}, inputs=lambda s: {"anchor": np.array([[1, 2]])}, tile=(2, 4)
    ),
    "mvar": Shown({"window": 3}, {"n": 85}, {"n": 1365}, inputs=scales),
    "tesa": Shown({"window_y": 2, "window_x": 2, "shift": 1}, tile=(2, 2, 2)),
    "swap_ca_3d": Shown({"window_t": 2, "window_y": 2, "window_x": 2}, tile=(2, 2, 2)),
    "factorized_st": Shown(tile=(8, 1)),
    "divided_st_cls": Shown(tile=(8, 1)),
    "radial": Shown(
        {"block": 4},
        {"t": 8, "s": 16, "text": 8},
        {"t": 32, "s": 1560, "text": 256},
        tile=(1, 4),
    ),
    "radial_token": Shown({"sink": False}, {"t": 16, "s": 8}, {"t": 16, "s": 1560}, tile=(1, 8)),
    "vstar_tar": Shown(small={"t": 64}, large={"t": 64}),
    "pam": Shown(tile=(2, 4)),
    "criss_cross": Shown(tile=(2, 4)),
    "agent_attention": Shown({"agents": 9}),
    "agent_attention_sd": Shown({"agents": 9}),
    "davit_channel": Shown({"group": 64}),
    "shvit_shsa": Shown({"attended": 32, "channels": 64}),
    # Latents and single queries.
    "mla": Shown({"latent": 48, "rope": 16}),
    "gla_latent": Shown({"shards": 1, "latent": 48, "rope": 16}),
    "tpla": Shown({"shards": 1, "latent": 48, "rope": 16}),
    "lama_pool": Shown(
        small={"context": 1, "n": 64},
        large={"context": 1, "n": 512},
        inputs=late,
    ),
    "pointer_network": Shown(
        small={"step": 32, "n": 64},
        large={"step": 50, "n": 50},
        inputs=late,
    ),
    "attention_at": Shown(small={"one": 1, "n": 64}, large={"one": 1, "n": 512}, inputs=late),
    "gated_cls": Shown(small={"task": 1, "n": 64}, large={"task": 1, "n": 197}),
    # Poses.
    "dsta": Shown(inputs=limbs, tile=(1, 6)),
    "paab": Shown(inputs=joints),
    "skateformer": Shown(
        {"block_t": 2, "grid_t": 2, "block_v": 4, "grid_v": 3},
        {"t": 4, "v": 12},
        {"t": 64, "v": 48},
        (4, (0, 3)),
        tile=(2, 4),
    ),
}
