"""Connected digit strings from ``fsdd/*.parquet``."""

from aimc_lightning.zoo.digit_strings import SpokenDigits


class DigitStringsData(SpokenDigits):
    """Strings of 3 to 7 spoken digits; see :class:`~aimc_lightning.zoo.digit_strings.SpokenDigits`.

    A batch is one :class:`~aimc_lightning.zoo.speech.Utterances`: five frames of 40 log-mel bands
    make 200 features every 50 ms; symbol ``d + 1`` is digit ``d``.
    """
