"""The LightningCLI behind ``fit``, ``validate``, ``test``, ``predict`` and each stage of a run."""

import functools
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    ReduceLROnPlateau,
    instantiate_class,
)
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

# These two are defined by a number of optimizer steps; all others are counted in epochs.
_STEP_SCHEDULERS = (OneCycleLR, CyclicLR)


class AimcCLI(LightningCLI):
    """LightningCLI that makes the optimizer when the Trainer asks for it, not before.

    Lightning's own makes it as soon as the module exists. That is before ``AnalogTraining`` has
    converted the module, and input ranges and output scales would never be trained.
    """

    def __init__(self, args: list[str], *, run: bool = True, **arguments: Any) -> None:  # noqa: ANN401
        """Parse the arguments, and run the command that they name.

        Args:
            args: Command line without the program's name.
            run: Whether a command (``fit`` ...) is expected and run; False only builds the
                trainer, the module and the data module.
            **arguments: Passed to LightningCLI.
        """
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            # A shortened option would change its meaning when a longer one is added later.
            parser_kwargs={
                "allow_abbrev": False,
                **{name: self._subparser(name) for name in self.subcommands() if run},
            },
            load_from_checkpoint_support=False,
            args=args,
            run=run,
            **arguments,
        )

    @staticmethod
    def _subparser(name: str) -> dict[str, Any]:
        example = f"example: aimc-lightning {name} --config FILE --trainer.accelerator cpu"
        return {
            "allow_abbrev": False,
            "epilog": f"{example}; FILE as any of a recipe's YAML files.",
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``threads``, ``optimizer`` and ``lr_scheduler``."""
        parser.add_argument(
            "--threads", type=PositiveInt | None, help="CPU threads; by default one for each core"
        )
        parser.add_optimizer_args()
        parser.add_lr_scheduler_args()

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parse ``args``, without Lightning's warning that ``sys.argv`` is not empty."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Leave the module to the configuration, which names its class.

        Lightning would put a checkpoint's hyperparameters in place of its arguments, class unknown.
        """

    def before_instantiate_classes(self) -> None:
        """Set the number of CPU threads, for the rest of the process."""
        threads = self._get(self.config, "threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def after_instantiate_classes(self) -> None:
        """Give the module the optimizer of the command line, made when it is asked for."""
        optimizer = self._get(self.config_init, "optimizer")
        if not optimizer:
            return
        scheduler = self._get(self.config_init, "lr_scheduler")
        # A partial, because copies and pickles of the module then train their own parameters.
        self.model.configure_optimizers = functools.partial(
            _configure_optimizers,
            self.model,
            _plain(optimizer),
            _plain(scheduler) if scheduler else None,
        )

    def save_config(self, path: Path) -> None:
        """Write the complete configuration, defaults included, as YAML.

        Args:
            path: File to write; an existing one is replaced.
        """
        self.parser.save(self.config, path, overwrite=True, multifile=False)


def _configure_optimizers(
    module: LightningModule, optimizer: dict[str, Any], scheduler: dict[str, Any] | None
) -> Any:  # noqa: ANN401
    """Return what Lightning expects of ``configure_optimizers``, all parameters included."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    made_optimizer = instantiate_class(parameters, optimizer)
    if scheduler is None:
        return made_optimizer
    arguments = scheduler.get("init_args", {})
    if "total_steps" in arguments and arguments["total_steps"] is None:
        # A number in the YAML would go wrong with another batch size or number of epochs.
        steps = int(module.trainer.estimated_stepping_batches)
        scheduler = {**scheduler, "init_args": {**arguments, "total_steps": steps}}
    made = instantiate_class(made_optimizer, scheduler)
    settings: dict[str, Any] = {"scheduler": made}
    if isinstance(made, ReduceLROnPlateau):
        settings["monitor"] = made.monitor
    if isinstance(made, _STEP_SCHEDULERS):
        settings["interval"] = "step"
    return {"optimizer": made_optimizer, "lr_scheduler": settings}


def _plain(settings: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return ``class_path`` and ``init_args`` as a plain dict."""
    return settings.as_dict() if hasattr(settings, "as_dict") else dict(settings)
