"""Switchboard as features and characters, from ``swb300_rnnt/*.parquet``."""

from aimc_lightning.zoo.feature_files import FeatureFiles
from aimc_lightning.zoo.speech import pad_utterances


class SwitchboardCharacters(FeatureFiles):
    """Features of 340 numbers every 20 ms, and characters: 1 is the space, 2 to 45 others.

    See :class:`~aimc_lightning.zoo.feature_files.FeatureFiles`.
    """

    def __init__(
        self, data_dir: str | None = None, cache_dir: str | None = None, batch_size: int = 64
    ) -> None:
        """Store the settings; see :class:`~aimc_lightning.zoo.feature_files.FeatureFiles`."""
        super().__init__(
            "swb300_rnnt",
            340,
            pad_utterances,
            data_dir=data_dir,
            cache_dir=cache_dir,
            batch_size=batch_size,
        )
