"""Language model of one LSTM layer of 128 cells for letters."""

from typing import Any

from aimc_lightning.zoo.language import LanguageModule, LSTMLanguageModel
from aimc_lightning.zoo.registry import register_model

SYMBOLS = 97  # as data.py numbers them


class LSTMCharLM(LanguageModule):
    """Embedding (digital), 128 cells and output layer (analog); see ``LanguageModule``."""

    def __init__(
        self, weights: str | None = None, dropout: float = 0.1, learning_rate: float = 5.0
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            dropout: Share of the values set to zero before and after the LSTM layer.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        super().__init__(LSTMLanguageModel(SYMBOLS, 128, 1, dropout), weights, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="predict the next letter of Python's manual",
    metric="test_acc",
    chance=1 / SYMBOLS,
    data="language reference that ships with Python (about 375,000 letters)",
    licence="data: PSF licence, shipped with Python",
)
def lstm_charlm(**arguments: Any) -> LSTMCharLM:  # noqa: ANN401
    """Return the module; arguments as of :class:`LSTMCharLM`."""
    return LSTMCharLM(**arguments)
