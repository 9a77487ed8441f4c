"""RNN transducer for conversational telephone speech, at full size."""

from typing import Any

from torch import nn

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.speech import SpeechModule
from aimc_lightning.zoo.transducer import Transducer

FEATURES = 340  # 2 frames of 40 log-mel bands with first and second differences, i-vector of 100
SYMBOLS = 46  # blank and 45 characters
SPACE = 1  # character between two words


class RNNTSwb300(SpeechModule):
    """Six encoder layers of 640 cells in both directions, prediction network of 768; 57.2 million.

    ``test_wer`` is the word error rate of a beam search over characters that keeps four texts.

    Source:
        Rasch et al., Nature Communications 14, 5282 (2023), name a transducer of about 57 million
        parameters; its sizes are those of Saon et al., "Advancing RNN transducer technology for
        speech recognition", arXiv 2103.09935, from memory, not checked against the papers. They
        give 57.2 million parameters.
    """

    def __init__(
        self, weights: str | None = None, dropout: float = 0.25, learning_rate: float = 0.0005
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            dropout: Share of the values set to zero behind each layer.
            learning_rate: Of Adam; only used when the command line names no other optimizer.
        """
        network = Transducer(
            nn.LSTM(FEATURES, 640, 6, batch_first=True, dropout=dropout, bidirectional=True),
            nn.LSTM(10, 768, batch_first=True),
            256,
            SYMBOLS,
            combine="multiply",
            dropout=dropout,
            max_symbols=3,
        )
        super().__init__(network, weights, learning_rate, space=SPACE)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="transcribe English telephone conversations",
    metric="test_wer",
    chance=1.0,
    data="Switchboard (300 hours)",
    licence="data: Linguistic Data Consortium LDC97S62, not at hand",
)
def rnnt_swb300(**arguments: Any) -> RNNTSwb300:  # noqa: ANN401
    """Return the module; arguments as of :class:`RNNTSwb300`."""
    return RNNTSwb300(**arguments)
