"""ALBERT-base for the eight tasks of GLUE."""

from typing import Any, ClassVar

from aimc_lightning.zoo.glue import GlueModule
from aimc_lightning.zoo.glue_tasks import TASKS, chances
from aimc_lightning.zoo.registry import register_model


class AlbertBaseGlue(GlueModule):
    """ALBERT-base, one layer used 12 times, 768 wide; see ``GlueModule`` for the arguments.

    Source:
        Size of Lan et al., arXiv 1909.11942, table 1 (base), and ``config.json`` of version 2.
    """

    size: ClassVar = {
        "model_type": "albert",
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu_new",
    }


@register_model(
    task="judge sentences and pairs of sentences (eight tasks, one network each)",
    metric="test_score",
    chance=chances(TASKS),
    data="GLUE: CoLA, MNLI, MRPC, QNLI, QQP, RTE, SST-2, STS-B",
    licence="data: research use, terms of each task; weights to start from: Apache-2.0",
)
def albert_base_glue(**arguments: Any) -> AlbertBaseGlue:  # noqa: ANN401
    """Return the module; arguments as of :class:`AlbertBaseGlue`."""
    return AlbertBaseGlue(**arguments)
