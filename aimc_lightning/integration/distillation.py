"""Train the analog model towards the outputs of the digital model it was made from."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.conversion import convert_to_digital
from aimc_lightning.integration.submodule import submodule
from aimc_lightning.nn.base import analog_layers


@dataclass(frozen=True)
class Distillation:
    """Distillation from the digital model as teacher.

    The loss becomes ``(1 - weight) * loss + weight * T^2 * KL(teacher || student)`` of the class
    probabilities at temperature ``T``. One output alone is no class but a regression: the squared
    difference to the teacher's takes the place of the divergence.

    Example:
        >>> Distillation(weight=0.5, temperature=4.0).class_dim
        -1

    Args:
        weight: Share of the distillation term, 0 to 1.
        temperature: Temperature of both softmaxes, above 0, dimensionless.
        module: Name of the submodule whose output are the logits; ``None`` means the
            LightningModule itself, so ``training_step`` has to call ``self(...)``.
        class_dim: Axis of the classes in the logits.
        save_teacher: Keep the teacher's weights in every checkpoint. Without it a resumed run takes
            the digital module as the script builds it, and checks that it is the same one.

    Source:
        Hinton et al., arXiv 1503.02531, section 2 (temperature and the factor T^2).
    """

    weight: float = 0.5
    temperature: float = 1.0
    module: str | None = None
    class_dim: int = -1
    save_teacher: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; the share of distillation must be 0 to 1.")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0.")

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return ``T^2 * KL(teacher || student)``, averaged over all axes but the class axis.

        Args:
            student: Logits of the analog model, any shape.
            teacher: Logits of the digital model, same shape.

        Returns:
            Scalar, in float32 or wider; the mean squared difference if there is one class only.
        """
        wide = torch.promote_types(student.dtype, torch.float32)
        if student.shape[self.class_dim] == 1:
            return F.mse_loss(student.to(wide), teacher.to(wide))
        log_student = F.log_softmax(student.to(wide) / self.temperature, dim=self.class_dim)
        log_teacher = F.log_softmax(teacher.to(wide) / self.temperature, dim=self.class_dim)
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
        return self.temperature**2 * divergence.sum(self.class_dim).mean()


class Teacher:
    """Frozen digital copy of a module, kept outside of it.

    Args:
        module: The module, still digital. It is copied.
        distillation: Settings.

    Raises:
        ValueError: If ``distillation.module`` does not name a submodule.
    """

    def __init__(self, module: LightningModule, distillation: Distillation) -> None:
        self.settings = distillation
        network = copy.deepcopy(module)
        if analog_layers(network):  # converted by hand before fit
            convert_to_digital(network)
        self.network: nn.Module = network.eval().requires_grad_(False)
        self.source  # noqa: B018 - fails now, not in the first step
        self.fingerprint = state_fingerprint(self.network)

    @property
    def source(self) -> nn.Module:
        """The submodule of the teacher whose output are the logits."""
        return _submodule(self.network, self.settings.module)

    def attach(self, trainer: Trainer, module: LightningModule) -> None:
        """Wrap ``module.training_step`` on the instance so that its loss includes the teacher."""
        self.network = trainer.precision_plugin.convert_module(self.network).to(module.device)
        original = module.training_step
        wrapper = functools.partial(_distilled_step, self, module, original)
        # Lightning reads the signature of training_step through __wrapped__.
        wrapper.__wrapped__ = original  # type: ignore[attr-defined]
        vars(module)["training_step"] = wrapper

    def detach(self, module: LightningModule) -> None:
        """Undo :meth:`attach`."""
        step = vars(module).get("training_step")
        if isinstance(step, functools.partial) and step.func is _distilled_step:
            original = step.args[2]
            del vars(module)["training_step"]
            if module.training_step != original:  # a compiled module has its own instance attribute
                vars(module)["training_step"] = original

    def state_dict(self) -> dict[str, Any]:
        """Return what identifies the teacher, and its weights if the settings ask for them."""
        weights = self.network.state_dict() if self.settings.save_teacher else None
        return {"fingerprint": self.fingerprint, "weights": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the teacher of a checkpoint, or check that this is the same one.

        Raises:
            ValueError: If it is another teacher and the checkpoint has no weights of it.
        """
        if state["weights"] is not None:
            self.network.load_state_dict(state["weights"])
            self.fingerprint = state["fingerprint"]
        elif state["fingerprint"] != self.fingerprint:
            raise ValueError(
                "The resumed run has another teacher: the digital module given to fit does not "
                "have the weights with which the first run began. Load those weights before "
                "fit(ckpt_path=...), or train with Distillation(save_teacher=True), which keeps "
                "the teacher in the checkpoint."
            )


def _distilled_step(
    teacher: Teacher,
    module: LightningModule,
    original: Callable[..., Any],
    *args: Any,  # noqa: ANN401 - whatever the user's training_step takes
    **kwargs: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
    source = _submodule(module, teacher.settings.module)
    # Only during the step: DDP calls the module's forward around the step as well.
    hook = source.register_forward_hook(
        lambda _, inputs, keywords, output: calls.append((inputs, keywords, output)),
        with_kwargs=True,
    )
    try:
        result = original(*args, **kwargs)
    finally:
        hook.remove()
    if result is None:
        return None
    if not calls:
        called = teacher.settings.module or "self(...)"
        raise ValueError(
            f"Distillation needs the logits, but training_step did not call {called}. Name the "
            "submodule whose output are the logits, e.g. Distillation(module='model'); this module "
            f"has {', '.join(name for name, _ in module.named_children())}."
        )
    terms = []
    for inputs, keywords, output in calls:
        with torch.no_grad():
            target = teacher.source(*inputs, **keywords)
        terms.append(teacher.settings.loss(_logits(output), _logits(target)))
    share = teacher.settings.weight
    extra = torch.stack(terms).mean()
    if isinstance(result, dict):
        return {**result, "loss": (1 - share) * result["loss"] + share * extra}
    return (1 - share) * result + share * extra


def _submodule(module: nn.Module, name: str | None) -> nn.Module:
    return module if name is None else submodule(module, name, "Distillation")


def _logits(output: Any) -> Tensor:  # noqa: ANN401 - model outputs have many forms
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, dict) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise TypeError(
        f"Distillation needs logits, but the model returned {type(output).__name__}. Name the "
        "submodule that returns them as a tensor with Distillation(module=...)."
    )
