import pytest
import torch
from torch.nn import functional as F

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.distillation import Distillation
from aimc_lightning.presets import get_preset
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def _callback(config: TileConfig = NOISY, **settings):
    return AnalogTraining(config, distillation=Distillation(**settings))


def _fit(callback, module=None, epochs=1, ckpt_path=None, **settings):
    module = toy() if module is None else module
    run = trainer(callback, epochs=epochs, **settings)
    run.fit(module, ToyData(), ckpt_path=ckpt_path)
    return module, run


class _Recorder(AnalogTraining):
    def on_before_backward(self, trainer, pl_module, loss):
        self.losses = [*getattr(self, "losses", []), loss.item()]


def test_loss_equals_the_written_out_divergence():
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    p, q = F.softmax(teacher / 2, 1), F.softmax(student / 2, 1)
    expected = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(Distillation(temperature=2.0).loss(student, teacher), expected)


def test_loss_over_a_class_axis_in_the_middle_equals_the_moved_one():
    student, teacher = torch.randn(5, 3, 7), torch.randn(5, 3, 7)
    middle = Distillation(class_dim=1).loss(student, teacher)
    last = Distillation().loss(student.movedim(1, -1), teacher.movedim(1, -1))
    torch.testing.assert_close(middle, last)


def test_student_equal_to_teacher_has_no_distillation_loss():
    callback = _Recorder(get_preset("ideal"), distillation=Distillation(weight=1.0))
    _fit(callback, limit_train_batches=1)
    assert callback.losses == [pytest.approx(0.0, abs=1e-6)]


def test_one_output_is_pulled_towards_the_teachers_by_its_squared_difference():
    student = torch.tensor([[1.0], [2.0]], dtype=torch.bfloat16)
    teacher = torch.tensor([[3.0], [1.0]])
    assert Distillation(temperature=2.0).loss(student, teacher).item() == pytest.approx(2.5)


def test_weight_zero_leaves_the_loss_alone():
    torch.manual_seed(0)
    with_teacher = _Recorder(NOISY, distillation=Distillation(weight=0.0))
    _fit(with_teacher)
    torch.manual_seed(0)
    without = _Recorder(NOISY)
    _fit(without)
    assert with_teacher.losses == without.losses


def test_teacher_stays_digital_frozen_and_out_of_the_state_dict():
    callback = _callback()
    start = toy().state_dict()
    module, _ = _fit(callback)
    assert not any("teacher" in key for key in module.state_dict())
    for key, value in callback._teacher.network.state_dict().items():
        assert torch.equal(value, start[key])
    assert not any(p.requires_grad for p in callback._teacher.network.parameters())


def test_module_converted_before_fit_gets_a_digital_teacher():
    module = toy()
    convert_to_analog(module, NOISY)
    callback = _callback()
    _fit(callback, module=module)
    assert type(callback._teacher.network.net[0]) is torch.nn.Linear


def test_training_step_is_given_back_after_fit():
    module, _ = _fit(_callback())
    assert "training_step" not in vars(module)


def test_logits_of_a_named_submodule():
    class Direct(Toy):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1])  # not self(...)

    _fit(_callback(module="net"), module=Direct())
    with pytest.raises(ValueError, match=r"did not call self\(\.\.\.\).*this module has net"):
        _fit(_callback(), module=Direct())


def test_unknown_submodule_is_refused_at_set_up():
    with pytest.raises(ValueError, match=r"no such submodule; name one of net"):
        _fit(_callback(module="head"))


def test_manual_optimization_is_refused():
    module = toy()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match="automatic_optimization=False"):
        _fit(_callback(), module=module)


@pytest.mark.parametrize(("settings", "message"), [
    ({"weight": 1.5}, "weight is 1.5"),
    ({"temperature": 0.0}, "temperature is 0.0"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**settings)


def _resume(folder, module, **settings):
    path = sorted(folder.iterdir())[3]
    return _fit(_callback(**settings), module=module, epochs=2, ckpt_path=path)


def test_resumed_distillation_is_bit_identical(tmp_path):
    torch.manual_seed(0)
    expected = toy()
    trainer(_callback(), SaveOften(tmp_path), epochs=2).fit(expected, ToyData())
    resumed, _ = _resume(tmp_path, toy())
    for key, value in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)


def test_resume_with_another_teacher_is_refused(tmp_path):
    trainer(_callback(), SaveOften(tmp_path)).fit(toy(), ToyData())
    with pytest.raises(ValueError, match="The resumed run has another teacher"):
        _resume(tmp_path, toy(seed=1))


def test_saved_teacher_makes_resume_independent_of_the_module_given(tmp_path):
    torch.manual_seed(0)
    expected = toy()
    trainer(_callback(save_teacher=True), SaveOften(tmp_path), epochs=2).fit(expected, ToyData())
    resumed, _ = _resume(tmp_path, toy(seed=1), save_teacher=True)
    for key, value in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)
