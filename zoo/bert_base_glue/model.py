"""BERT-base for the eight tasks of GLUE."""

from typing import Any, ClassVar

from aimc_lightning.zoo.glue import GlueModule
from aimc_lightning.zoo.glue_tasks import TASKS, chances
from aimc_lightning.zoo.registry import register_model


class BertBaseGlue(GlueModule):
    """BERT-base, 12 layers, 768 wide; see ``GlueModule`` for the arguments.

    Source:
        Size of Devlin et al., arXiv 1810.04805, section 3 (BERT-base).
    """

    size: ClassVar = {"model_type": "bert"}  # the defaults are BERT-base, uncased


@register_model(
    task="judge sentences and pairs of sentences (eight tasks, one network each)",
    metric="test_score",
    chance=chances(TASKS),
    data="GLUE: CoLA, MNLI, MRPC, QNLI, QQP, RTE, SST-2, STS-B",
    licence="data: research use, terms of each task; weights to start from: Apache-2.0",
)
def bert_base_glue(**arguments: Any) -> BertBaseGlue:  # noqa: ANN401
    """Return the module; arguments as of :class:`BertBaseGlue`."""
    return BertBaseGlue(**arguments)
