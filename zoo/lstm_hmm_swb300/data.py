"""Switchboard as features and aligned states, from ``swb300_hmm/*.parquet``."""

from functools import partial

from aimc_lightning.zoo.feature_files import FeatureFiles, cut_pieces

FRAMES = 21  # of a piece


class SwitchboardStates(FeatureFiles):
    """Pieces of 21 frames of 140 features, one state 0 to 31,999 each; see ``FeatureFiles``."""

    def __init__(
        self, data_dir: str | None = None, cache_dir: str | None = None, batch_size: int = 16
    ) -> None:
        """Store the settings; see :class:`~aimc_lightning.zoo.feature_files.FeatureFiles`."""
        super().__init__(
            "swb300_hmm",
            140,
            partial(cut_pieces, frames=FRAMES),
            data_dir=data_dir,
            cache_dir=cache_dir,
            batch_size=batch_size,
        )
