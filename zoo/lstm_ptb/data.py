"""Penn Treebank in Mikolov's preprocessing, from ``ptb/ptb.zip``."""

from aimc_lightning.zoo.text import ZippedText


class PennTreebankData(ZippedText):
    """Penn Treebank: 929,589 train, 73,760 validation and 82,430 test words with ``<eos>``."""

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 20,
        steps: int = 35,
        eval_batch_size: int = 10,
    ) -> None:
        """Store the settings; see :class:`~aimc_lightning.zoo.text.ZippedText`."""
        members = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
        super().__init__("ptb/ptb.zip", members, data_dir, batch_size, steps, eval_batch_size)
