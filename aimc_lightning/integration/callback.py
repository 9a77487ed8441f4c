"""Hardware-aware training as a Lightning callback."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from aimc_lightning.checkpoint import METADATA_KEY, selector_names
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector, convert_to_analog
from aimc_lightning.integration.checks import check_trainer, warn_of_evaluation_mode
from aimc_lightning.integration.configure import cancel_conversion, convert_after_configure_model
from aimc_lightning.integration.distillation import Distillation, Teacher
from aimc_lightning.integration.finite import NonFiniteGuard, check_weights
from aimc_lightning.integration.module_hooks import install_checkpoint_hooks
from aimc_lightning.integration.resume import TrainingStream
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.integration.settings import analog_settings
from aimc_lightning.integration.steps import StepControl
from aimc_lightning.integration.validation import Validation, ValidationRunner
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.presets import get_preset


class AnalogTraining(Callback):
    """Converts a module to analog layers and trains it aware of the hardware.

    Example:
        >>> callback = AnalogTraining(preset="standard_pcm", schedule=NoiseSchedule(ramp=5))
        >>> trainer = Trainer(callbacks=[callback], logger=False, accelerator="cpu")

    The layers are swapped once, straight after the module's ``configure_model``. After each
    optimizer step weights are clipped and held weight noise is drawn anew. Checkpoints carry a
    description of the conversion (see :mod:`aimc_lightning.checkpoint`), and a run resumed with
    ``fit(ckpt_path=...)`` ends with the same weights as one that was never interrupted: order of
    the data, noise, and gradients being accumulated go on where they stopped (limits:
    :class:`~aimc_lightning.integration.resume.TrainingStream`).

    Args:
        config: Settings of the tiles; ``None`` takes those of ``preset``.
        preset: Named settings; ``None`` is ``standard_pcm``. Without any argument, a module that is
            analog already (a checkpoint) keeps its layers as they are.
        include: Layers to convert, by name, glob, class or ``re:`` pattern; ``None`` converts all
            that can be.
        exclude: Layers to leave digital.
        layers: Settings of single layers, see
            :func:`~aimc_lightning.conversion.convert_to_analog`.
        schedule: Course of training noise and input ranges; ``None``: all noise from the start.
        distillation: Train towards the digital model's outputs; ``None`` does not.
        validation: Measure validation during fit on aged chips as well, see
            :class:`~aimc_lightning.integration.validation.Validation`.

    Raises:
        ValueError: If ``config`` and another ``preset`` are given; at set-up, if no layer matches,
            the module is already analog with another config, the order of callbacks is wrong, or
            the strategy cannot work; during a run, if weights or inputs are NaN or infinite.
    """

    def __init__(
        self,
        config: TileConfig | None = None,
        preset: str | None = None,
        include: Sequence[Selector] | None = None,
        exclude: Sequence[Selector] = (),
        layers: Mapping[str, TileConfig | str | None] | None = None,
        schedule: NoiseSchedule | None = None,
        distillation: Distillation | None = None,
        validation: Validation | None = None,
    ) -> None:
        analog_settings(config, preset, include, exclude, layers)  # refuses what contradicts
        self.config = config
        self.preset = preset
        self.include = include
        self.exclude = exclude
        self.layers = layers
        self.schedule = schedule
        self.distillation = distillation
        self.validation = validation
        self._teacher: Teacher | None = None
        self._stream = TrainingStream()
        self._guard = NonFiniteGuard()
        self._steps = StepControl(schedule or NoiseSchedule())
        self._resumed = False

    @property
    def tile_config(self) -> TileConfig:
        """The settings in use."""
        if isinstance(self.config, str):
            raise TypeError(
                f"AnalogTraining.config is {self.config!r}, but it must be a TileConfig; name a "
                f"preset with preset={self.config!r}."
            )
        return self.config or get_preset(self.preset or "standard_pcm")

    @property
    def state_key(self) -> str:
        """Key in checkpoints; callbacks with other settings have other keys."""
        settings = json.dumps(_settings(self), sort_keys=True).encode()
        return f"{type(self).__qualname__}[{hashlib.sha256(settings).hexdigest()[:12]}]"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what can be checked and arrange the conversion."""
        check_trainer(trainer, self, pl_module, stage)
        if _leads(self, trainer):  # not the others: they would cancel the conversion of the first
            cancel_conversion(pl_module)
        install_checkpoint_hooks(pl_module, self.include, self.exclude)
        convert_after_configure_model(pl_module, self._convert)
        if stage == "fit" and self.validation is not None and _leads(self, trainer):
            ValidationRunner(self.validation).install(trainer, pl_module)

    def _convert(self, module: LightningModule) -> None:
        if next(module.parameters(), None) is None:
            raise ValueError(
                "The module has no layer when configure_model is called, which weight averaging "
                "does before setup(). Make the layers in __init__ or in configure_model."
            )
        fitting = module.trainer.state.fn == TrainerFn.FITTING
        fresh = self._teacher is None or not analog_layers(module)
        if self.distillation is not None and fitting and fresh:
            self._teacher = Teacher(module, self.distillation)
        # Layers that only this worker process has are named as such, not as another selection.
        getattr(module.trainer.strategy.launcher, "check_parameters", _nothing)(module)
        given = analog_settings(self.config, self.preset, self.include, self.exclude, self.layers)
        if analog_layers(module) and not given:
            rank_zero_info("The module is analog already: its layers keep their settings.")
            return
        report = convert_to_analog(
            module, self.tile_config, include=self.include, exclude=self.exclude, layers=self.layers
        )
        if not report.already:
            rank_zero_info(str(report))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare the run: random numbers, counters, teacher."""
        check_weights(pl_module)
        warn_of_evaluation_mode(pl_module)
        self._steps.start()
        if not self._resumed:
            self._steps.last_step = trainer.global_step
        if _leads(self, trainer):
            self._stream.on_fit_start()
        if self._teacher is not None:
            self._teacher.attach(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the place where a resumed run was interrupted."""
        self._resumed = False
        if _leads(self, trainer):
            self._stream.on_train_start(trainer, pl_module)
            self._steps.after_batch(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the order of the epoch's data comes from."""
        if _leads(self, trainer):
            self._stream.on_train_epoch_start(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Set the noise and look at the batch."""
        if _leads(self, trainer):
            self._steps.before_batch(trainer, pl_module)
            self._guard.on_batch_start(pl_module, batch)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss before it changes the weights."""
        if _leads(self, trainer):
            self._guard.on_loss(pl_module, loss)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Clip weights and draw held noise anew, after optimizer steps."""
        if _leads(self, trainer):
            self._guard.on_batch_end(pl_module)
            self._steps.after_batch(trainer, pl_module)
            self._stream.on_train_batch_end()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the batch."""
        if _leads(self, trainer):
            if batch_idx == 0:
                check_weights(pl_module)
            self._guard.on_batch_start(pl_module, batch)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: object
    ) -> None:
        """Give the verdict on a suspicious batch."""
        if _leads(self, trainer):
            self._guard.on_batch_end(pl_module)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep validation from changing the noise of the training that follows."""
        if _leads(self, trainer) and trainer.state.fn == TrainerFn.FITTING:
            self._stream.on_validation_end(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remind of the step that is easily forgotten."""
        if _leads(self, trainer) and not any(
            getattr(callback, "programs_chips", False)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        ):
            rank_zero_info(
                "The model was trained for analog hardware but never programmed: its scores so far "
                "include neither programming noise nor drift. Next: "
                "evaluate_drift(trainer, module, datamodule)."
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave no hook behind but those for checkpoints."""
        cancel_conversion(pl_module)
        ValidationRunner.remove(trainer)
        self._guard.close()
        if self._teacher is not None:
            self._teacher.detach(pl_module)

    on_exception = teardown  # type: ignore[assignment]  # the third argument is not used

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain dicts and numbers."""
        return {**_settings(self), "last_step": self._steps.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over counters."""
        self._steps.last_step = state_dict["last_step"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add random numbers, data order and the identity of the teacher."""
        state = checkpoint["callbacks"][self.state_key]
        if _leads(self, trainer) and trainer.state.fn == TrainerFn.FITTING:
            state["stream"] = self._stream.state_dict(trainer, pl_module)
        if self._teacher is not None:
            state["teacher"] = self._teacher.state_dict()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take over random numbers and data order, and check the teacher."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        state = checkpoint.get("callbacks", {}).get(self.state_key, {})
        self._resumed = bool(state)
        if not state and METADATA_KEY in checkpoint:
            rank_zero_warn(
                "The checkpoint holds no training state of this AnalogTraining callback (saved "
                "with save_weights_only, or with other include, exclude or layers): training goes "
                "on with other noise and data order than the first run."
            )
        if _leads(self, trainer) and "stream" in state:
            self._stream.load_state_dict(trainer, state["stream"])
        if self._teacher is not None and "teacher" in state:
            self._teacher.load_state_dict(state["teacher"])


def _nothing(_: LightningModule) -> None:
    pass


def _settings(callback: AnalogTraining) -> dict[str, Any]:
    def plain(config: TileConfig | str | None) -> dict[str, Any] | None:
        config = get_preset(config) if isinstance(config, str) else config
        return None if config is None else config.to_dict()

    return {
        "config": callback.tile_config.to_dict(),
        "include": None if callback.include is None else selector_names(callback.include),
        "exclude": selector_names(callback.exclude),
        "layers": {name: plain(config) for name, config in (callback.layers or {}).items()},
    }


def _leads(callback: AnalogTraining, trainer: Trainer) -> bool:
    """Whether a callback is the first of its kind; it alone acts on the whole model."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callback is next(cb for cb in callbacks if isinstance(cb, AnalogTraining))
