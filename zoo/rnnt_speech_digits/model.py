"""RNN transducer that spells spoken digits."""

from typing import Any

from torch import nn

from aimc_lightning.conversion import convert_to_digital
from aimc_lightning.zoo.pretrained import from_pretrained
from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.speech import SpeechModule
from aimc_lightning.zoo.transducer import Transducer

FEATURES = 200  # 5 frames of 40 log-mel bands
SYMBOLS = 11  # blank and ten digits
LAYERS = 2  # of the encoder


class RNNTSpeechDigits(SpeechModule):
    """Recogniser of digit strings; see :class:`~aimc_lightning.zoo.speech.SpeechModule`.

    Beam search keeps four texts and takes at most one digit from a frame of 50 ms.
    """

    def __init__(
        self,
        weights: str | None = None,
        hidden: int = 96,
        prediction: int = 32,
        joint: int = 64,
        dropout: float = 0.2,
        learning_rate: float = 0.003,
        encoder_of: str | None = None,
        hold_encoder_epochs: int = 0,
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            hidden: Cells of each layer and direction of the encoder.
            prediction: Cells of the prediction network's one layer; its embedding has half as many.
            joint: Units of the joint network.
            dropout: Share of the values set to zero behind each layer.
            learning_rate: Of Adam; only used when the command line names no other optimizer.
            encoder_of: Where a trained encoder of the same size comes from, as
                :func:`~aimc_lightning.zoo.pretrained.from_pretrained` takes it; None draws a new
                one. Without effect beside ``weights``.
            hold_encoder_epochs: First epochs in which the encoder does not learn. New joint and
                prediction networks first learn to say nothing, which would unlearn it.
        """
        encoder = nn.LSTM(
            FEATURES, hidden, LAYERS, batch_first=True, dropout=dropout, bidirectional=True
        )
        if encoder_of is not None and weights is None:
            trained = convert_to_digital(from_pretrained(encoder_of))
            encoder.load_state_dict(trained.network.lstm.state_dict())
        network = Transducer(
            encoder,
            nn.LSTM(prediction // 2, prediction, batch_first=True),
            joint,
            SYMBOLS,
            dropout=dropout,
            max_symbols=1,
        )
        super().__init__(network, weights, learning_rate)
        self.hold_encoder_epochs = hold_encoder_epochs
        self.save_hyperparameters(
            ignore=["weights", "encoder_of"]
        )  # a checkpoint brings its own weights

    def on_train_epoch_start(self) -> None:
        """Let the encoder learn from its epoch on."""
        learns = self.current_epoch >= self.hold_encoder_epochs
        self.network.encoder.requires_grad_(learns)


@register_model(
    task="recognise strings of spoken digits",
    metric="test_wer",
    chance=1.0,
    data="Free Spoken Digit Dataset (3,000 recordings, six speakers), joined to strings",
    licence="data CC BY-SA 4.0",
)
def rnnt_speech_digits(**arguments: Any) -> RNNTSpeechDigits:  # noqa: ANN401
    """Return the module; arguments as of :class:`RNNTSpeechDigits`."""
    return RNNTSpeechDigits(**arguments)
