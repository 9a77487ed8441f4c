"""Language model of two LSTM layers of 200 cells for WikiText-2."""

from typing import Any

from aimc_lightning.zoo.language import LanguageModule, LSTMLanguageModel
from aimc_lightning.zoo.registry import register_model

WORDS = 33_278


class LSTMWikiText2(LanguageModule):
    """Embedding (digital), 2 x 200 cells and output layer (analog); see ``LanguageModule``.

    Source:
        Size of the small model of Zaremba et al., arXiv 1409.2329, section 4.1.
    """

    def __init__(
        self, weights: str | None = None, dropout: float = 0.2, learning_rate: float = 20.0
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            dropout: Share of the values set to zero before, between and after the LSTM layers.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        super().__init__(LSTMLanguageModel(WORDS, 200, 2, dropout), weights, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="predict the next word of an English encyclopedia",
    metric="test_acc",
    chance=1 / WORDS,
    data="WikiText-2 (2,551,843 words)",
    licence="data CC BY-SA 3.0",
)
def lstm_wikitext2(**arguments: Any) -> LSTMWikiText2:  # noqa: ANN401
    """Return the module; arguments as of :class:`LSTMWikiText2`."""
    return LSTMWikiText2(**arguments)
