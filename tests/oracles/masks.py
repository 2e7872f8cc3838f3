"""The table of mask oracles, by catalogue id.

Every oracle is `f(sizes, heads=1, *, parameters, inputs)` and returns bool [H or 1, Nq, Nk], or
[B, H or 1, Nq, Nk] when an input has a batch axis. True means: the query may see the key.
"""

from collections.abc import Callable

from tests.oracles import (
    block_tables,
    documents,
    language_models,
    multimodal,
    neighborhoods,
    partitions,
    poses,
    space_time,
    spans,
)
from tests.oracles.loops import Mask

MaskOracle = Callable[..., Mask]

MASKS: dict[str, MaskOracle] = {
    oracle.__name__: oracle
    for oracle in (
        language_models.causal,
        language_models.full,
        language_models.sliding_window,
        language_models.streaming_sink,
        language_models.based_swa,
        language_models.alibi,
        language_models.softcap,
        language_models.sink_logit,
        language_models.longlora_s2,
        language_models.s2_local_stride,
        documents.lca_causal_document,
        documents.lca_full_document,
        documents.lca_full,
        documents.lca_causal,
        documents.lca_share_question,
        documents.lca_sliding_window,
        documents.lca_sliding_window_causal,
        documents.lca_prefix_lm_causal,
        documents.lca_global_sliding_window,
        documents.lca_block_causal_document,
        documents.lca_prefix_lm_document,
        documents.lca_causal_blockwise,
        block_tables.lca_uniform_block_sparse,
        block_tables.lca_variable_block_sparse,
        spans.cab_local,
        spans.sinklora_sf,
        spans.moa_elastic,
        spans.titans_mac,
        spans.titans_mag,
        spans.mega_chunk,
        spans.head_roles,
        spans.bidir_or_causal,
        multimodal.croc_mixed,
        multimodal.transvg_joint,
        multimodal.yopo_neighbor,
        multimodal.isolation_attn,
        multimodal.region_cross,
        multimodal.mixformer_asym,
        multimodal.agile_click,
        multimodal.khop_groups,
        multimodal.ditctrl_fgbg,
        multimodal.dyvte,
        neighborhoods.neighborhood_1d,
        neighborhoods.neighborhood_2d,
        neighborhoods.neighborhood_3d,
        partitions.swin_window,
        partitions.maxvit_block,
        partitions.maxvit_grid,
        partitions.halo_2d,
        partitions.davit_window,
        partitions.gcvit_global,
        partitions.poly_window,
        neighborhoods.gna_extra,
        neighborhoods.local_corr_2d,
        neighborhoods.mvar,
        neighborhoods.msa_conv,
        space_time.factorized_st,
        space_time.divided_st_cls,
        space_time.tesa,
        space_time.swap_ca_3d,
        space_time.radial_token,
        space_time.radial,
        poses.skateformer,
        poses.dsta,
        poses.paab,
    )
}

FULL_WHEN_EMPTY = frozenset({"agile_click"})
"""Patterns whose rows see every key where their mask is empty."""

KEPT_WHEN_EMPTY = frozenset({"paab"})
"""Patterns whose rows give the query itself where their mask is empty; all others then give 0."""
