"""MiniLM, a BERT of six layers, for five tasks of GLUE."""

from typing import Any, ClassVar

from aimc_lightning.zoo.glue import GlueModule
from aimc_lightning.zoo.glue_tasks import chances
from aimc_lightning.zoo.registry import register_model

TASKS = ("cola", "mrpc", "rte", "sst2", "stsb")


class MiniLMGlue(GlueModule):
    """BERT of 6 layers, 384 wide; see ``GlueModule`` for the arguments.

    Source:
        Size of all-MiniLM-L6-v2, as in the ``config.json`` of its checkpoint.
    """

    size: ClassVar = {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    }


@register_model(
    task="judge sentences and pairs of sentences (five tasks, one network each)",
    metric="test_score",
    chance=chances(TASKS),
    data="GLUE: CoLA, MRPC, RTE, SST-2, STS-B",
    licence="data: research use, terms of each task; weights to start from: Apache-2.0",
)
def minilm_glue(**arguments: Any) -> MiniLMGlue:  # noqa: ANN401
    """Return the module; arguments as of :class:`MiniLMGlue`."""
    return MiniLMGlue(**arguments)
