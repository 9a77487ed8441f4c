import pytest

from aimc_lightning import sensitivity
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import ray_tasks
from aimc_lightning.evaluation.ray_tasks import RayTasks
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from tests.helpers.toy import LIGHTNING_ADVICE, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def _analog():
    module = toy(hidden=16)
    convert_to_analog(module)
    return module


def _evaluate(run, path=None, **settings):
    options = {"metric": "test_loss", "chance": 9.0, "progress": False, "csv_path": path}
    data = ToyData(samples=61)
    return evaluate_drift(run, _analog(), data, ("1s", "1d"), 3, **{**options, **settings})


@pytest.fixture(scope="module")
def cluster():
    """Two cores of Ray, here."""
    ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow  # Ray takes about ten seconds to start
@pytest.mark.filterwarnings("ignore")  # those of Ray about itself
class TestRay:
    def test_rows_of_one_process_two_processes_and_ray_are_equal(self, cluster, tmp_path):
        settings = {"direct": toy(hidden=16), "recalibrate": "max"}
        alone = _evaluate(trainer(), tmp_path / "alone.csv", **settings)
        forked = _evaluate(trainer(strategy="aimc_ddp_fork", devices=2), **settings)
        shared = _evaluate(trainer(), tmp_path / "ray.csv", ray=RayTasks(trainer), **settings)
        assert shared.rows == forked.rows == alone.rows
        assert shared.digital == alone.digital
        written = [RowFile(tmp_path / name).rows for name in ("alone.csv", "ray.csv")]
        assert sorted(written[0], key=lambda r: r.key) == sorted(written[1], key=lambda r: r.key)

    def test_finished_rows_are_not_measured_again_and_foreign_ones_refused(self, cluster, tmp_path):
        path = tmp_path / "rows.csv"
        expected = _evaluate(trainer(), path)
        whole = path.read_bytes()
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
        assert _evaluate(trainer(), path, ray=RayTasks(trainer)).rows == expected.rows
        with pytest.raises(ValueError, match="another model, configuration"):
            _evaluate(trainer(), path, ray=RayTasks(trainer), seed=1)

    def test_points_of_a_sensitivity_study_are_those_of_one_process(self, cluster):
        module = toy(hidden=16)
        trainer(epochs=8).fit(module, ToyData(samples=150))
        convert_to_analog(module)
        options = {"metric": "test_acc", "chance": 1 / 3, "digital": 0.97, "progress": False}
        alone, shared = (
            sensitivity(
                trainer(), module, ToyData(samples=150), "1h", 2, ("stuck_zero",), 0.5,
                ray=ray, **options,
            )
            for ray in (None, RayTasks(trainer))
        )  # fmt: skip
        assert shared.rows == alone.rows
        assert repr(shared.tolerances) == repr(alone.tolerances)

    def test_error_of_a_task_is_raised_here(self, cluster):
        with pytest.raises(Exception, match=r"'f1'; it logs: test_acc, test_loss"):
            _evaluate(trainer(), metric="f1", ray=RayTasks(trainer))


def test_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'aimc-lightning\[ray\]'"):
        ray_tasks._ray()


def test_trainer_instead_of_a_function_is_refused():
    with pytest.raises(TypeError, match="a function without arguments"):
        RayTasks(3)
