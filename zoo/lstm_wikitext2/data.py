"""WikiText-2, the version with ``<unk>``, from ``wikitext2/wikitext-2-v1.zip``."""

from aimc_lightning.zoo.text import ZippedText


class WikiText2Data(ZippedText):
    """WikiText-2: 2,088,628 train, 217,646 validation and 245,569 test words with ``<eos>``."""

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 20,
        steps: int = 35,
        eval_batch_size: int = 10,
    ) -> None:
        """Store the settings; see :class:`~aimc_lightning.zoo.text.ZippedText`."""
        members = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
        super().__init__(
            "wikitext2/wikitext-2-v1.zip", members, data_dir, batch_size, steps, eval_batch_size
        )
