import copy
import pickle

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from aimc_lightning.integration.configure import cancel_conversion, convert_after_configure_model


class _Plain(LightningModule):
    pass


class _Own(LightningModule):
    def configure_model(self):
        self.calls = [*getattr(self, "calls", []), "own"]


def _convert(module):
    module.calls = [*getattr(module, "calls", []), "convert"]


def _convert_too(module):
    module.calls = [*getattr(module, "calls", []), "convert too"]


def test_conversion_runs_once_after_the_modules_own_hook():
    module = _Own()
    convert_after_configure_model(module, _convert)
    module.configure_model()
    module.configure_model()
    assert module.calls == ["own", "convert", "own"]


def test_lightning_sees_the_hook_of_a_module_without_one():
    module = _Plain()
    convert_after_configure_model(module, _convert)
    assert is_overridden("configure_model", module)
    assert not hasattr(module.configure_model, "__wrapped__")
    module.configure_model()
    assert not is_overridden("configure_model", module)


def test_wrappers_nest_and_convert_in_order_of_installation():
    module = _Own()
    convert_after_configure_model(module, _convert)
    convert_after_configure_model(module, _convert_too)
    module.configure_model()
    assert module.calls == ["own", "convert", "convert too"]
    assert "configure_model" not in vars(module)


def test_cancelled_conversion_does_not_run():
    module = _Own()
    convert_after_configure_model(module, _convert)
    convert_after_configure_model(module, _convert_too)
    cancel_conversion(module)
    module.configure_model()
    assert module.calls == ["own"]


def test_copy_of_a_wrapped_module_converts_itself():
    module = _Plain()
    convert_after_configure_model(module, _convert)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        other.configure_model()
        assert other.calls == ["convert"]
        assert not hasattr(module, "calls")
