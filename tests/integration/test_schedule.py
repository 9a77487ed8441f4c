import pytest

from aimc_lightning.integration.schedule import NoiseSchedule


def test_default_schedule_is_the_whole_noise_from_the_start():
    assert NoiseSchedule().factor(0) == 1.0


def test_ramp_follows_the_warm_up_and_ends_at_one():
    schedule = NoiseSchedule(noise_free=2, ramp=2)
    assert [schedule.factor(i) for i in range(5)] == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("name", ["noise_free", "ramp", "freeze_input_range"])
def test_negative_length_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is -1"):
        NoiseSchedule(**{name: -1})


def test_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="unit is 'batch'"):
        NoiseSchedule(unit="batch")
