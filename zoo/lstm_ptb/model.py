"""Language model of two LSTM layers of 650 cells for Penn Treebank."""

from typing import Any

from aimc_lightning.zoo.language import LanguageModule, LSTMLanguageModel
from aimc_lightning.zoo.registry import register_model

WORDS = 10_000


class LSTMPtb(LanguageModule):
    """Embedding (digital), 2 x 650 cells and output layer (analog); see ``LanguageModule``.

    Source:
        Size and dropout of the medium model of Zaremba et al., arXiv 1409.2329, section 4.1.
    """

    def __init__(
        self, weights: str | None = None, dropout: float = 0.5, learning_rate: float = 20.0
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            dropout: Share of the values set to zero before, between and after the LSTM layers.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        super().__init__(LSTMLanguageModel(WORDS, 650, 2, dropout), weights, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="predict the next word of English newspaper text",
    metric="test_acc",
    chance=1 / WORDS,
    data="Penn Treebank (1,085,779 words)",
    licence="data: Linguistic Data Consortium, research use",
)
def lstm_ptb(**arguments: Any) -> LSTMPtb:  # noqa: ANN401
    """Return the module; arguments as of :class:`LSTMPtb`."""
    return LSTMPtb(**arguments)
