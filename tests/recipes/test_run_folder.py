import signal
import subprocess
import sys

import pytest

from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.recipes.run_folder import RunFolder

IDENTITY = {"recipe": "a", "seed": 1}


_HOLD = """
import sys
from pathlib import Path
from aimc_lightning.recipes.run_folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), {"recipe": "a", "seed": 1}, resume=True)
print("held", flush=True)
sys.stdin.read()
"""


def _contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_run_on_which_another_process_works_is_refused_until_that_ends(stop, tmp_path):
    path = tmp_path / "run"
    arguments = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(arguments, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        before = _contents(path)
        with pytest.raises(BlockingIOError, match=r"another process is at work in .*run'"):
            RunFolder.open(path, {**IDENTITY, "chips": 3}, resume=True)
        assert _contents(path) == before
        assert RunFolder.read(path).identity == IDENTITY  # reading is free
        other.send_signal(stop)
    assert RunFolder.open(path, IDENTITY, resume=True).identity == IDENTITY


def test_new_folder_is_made(tmp_path):
    folder = RunFolder.open(tmp_path / "deep" / "run", IDENTITY, resume=False)
    assert (folder.path / "run.json").is_file()


def test_resume_of_a_new_folder_starts_the_run(tmp_path):
    assert RunFolder.open(tmp_path / "run", IDENTITY, resume=True).stages == {}


def test_finished_stages_are_found_again(tmp_path):
    RunFolder.open(tmp_path / "run", IDENTITY, resume=False).finish_stage("digital", {"score": 1})
    again = RunFolder.open(tmp_path / "run", IDENTITY, resume=True)
    assert again.stages == {"digital": {"score": 1, "seconds": 0.0}}
    assert not again.finished


def test_seconds_of_a_stage_are_those_of_all_sessions(tmp_path):
    folder = RunFolder.open(tmp_path / "run", IDENTITY, resume=False)
    folder.add_seconds("hwa", 100.0)  # stopped in its middle
    again = RunFolder.open(tmp_path / "run", IDENTITY, resume=True)
    again.add_seconds("hwa", 20.04)
    again.finish_stage("hwa", {"chips": 1})
    more = RunFolder.open(tmp_path / "run", {**IDENTITY, "chips": 2}, resume=True)
    more.add_seconds("hwa", 3.0)
    more.finish_stage("hwa", {"chips": 2})
    assert more.stages["hwa"]["seconds"] == 123.0


def test_other_run_is_refused_and_nothing_written(tmp_path):
    RunFolder.open(tmp_path / "run", IDENTITY, resume=False)
    before = _contents(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"holds another run \(seed 1 instead of 2\)"):
        RunFolder.open(tmp_path / "run", {"recipe": "a", "seed": 2}, resume=True)
    assert _contents(tmp_path / "run") == before


def _measured_on(path, chips):
    folder = RunFolder.open(path, {**IDENTITY, "chips": chips}, resume=False)
    rows = RowFile(path / "drift.csv")
    for chip in range(chips):
        rows.append(DriftRow("hwa", chip, 1.0, "acc", 0.9, 0, "f"))
    folder.finish_stage("digital", {"score": 1})
    folder.finish_stage("hwa", {"chips": chips})
    folder.finish()


def test_finished_run_measures_more_chips_and_keeps_its_rows(tmp_path):
    _measured_on(tmp_path / "run", 2)
    more = RunFolder.open(tmp_path / "run", {**IDENTITY, "chips": 3}, resume=True)
    assert more.stages == {"digital": {"score": 1, "seconds": 0.0}}
    assert not more.finished
    assert more.identity["chips"] == 3
    assert len(RowFile(tmp_path / "run" / "drift.csv").rows) == 2
    same = RunFolder.open(tmp_path / "run", {**IDENTITY, "chips": 3}, resume=True)
    assert same.identity == more.identity


def test_command_has_names_for_the_users_own_paths(tmp_path):
    settings = [f"digital.model.init_args.pretrained={tmp_path}", "hwa.trainer.max_epochs=2"]
    identity = {**IDENTITY, "data": str(tmp_path), "settings": settings}
    assert RunFolder.open(tmp_path / "run", identity, resume=False).command == (
        "aimc-lightning run a --data DIR --seed 1 "
        "--set digital.model.init_args.pretrained=PATH --set hwa.trainer.max_epochs=2"
    )


def test_stage_that_is_not_wanted_keeps_its_chips_until_it_is(tmp_path):
    _measured_on(tmp_path / "run", 2)
    RunFolder.read(tmp_path / "run").finish_stage("direct", {"chips": 2})
    more = {**IDENTITY, "chips": 3}
    grown = RunFolder.open(tmp_path / "run", more, resume=True, stages=["hwa"])
    assert list(grown.stages) == ["digital", "direct"]
    assert not grown.finished
    grown.finish_stage("hwa", {"chips": 3})
    grown.finish()
    assert "--chips 2" in grown.command_of("direct")
    assert "--chips 3" in grown.command_of("hwa")
    kept = RunFolder.open(tmp_path / "run", more, resume=True, stages=["hwa"])
    assert kept.finished
    everything = RunFolder.open(tmp_path / "run", more, resume=True)
    assert list(everything.stages) == ["digital", "hwa"]
    assert not everything.finished


def test_fewer_chips_than_measured_are_refused_and_nothing_written(tmp_path):
    _measured_on(tmp_path / "run", 3)
    before = _contents(tmp_path / "run")
    with pytest.raises(FileExistsError, match="results of 3 chips, more than --chips 2: give"):
        RunFolder.open(tmp_path / "run", {**IDENTITY, "chips": 2}, resume=True)
    assert _contents(tmp_path / "run") == before


def test_one_stage_may_have_fewer_chips_than_another(tmp_path):
    _measured_on(tmp_path / "run", 3)  # in the stage hwa
    fewer = {**IDENTITY, "chips": 2}
    folder = RunFolder.open(tmp_path / "run", fewer, resume=True, stages=["direct"])
    folder.finish_stage("direct", {"chips": 2})
    folder.finish()
    assert "--chips 3" in folder.command
    assert "--chips 2" in folder.command_of("direct")
    assert RunFolder.open(tmp_path / "run", fewer, resume=True, stages=["direct"]).finished
    with pytest.raises(FileExistsError, match="results of 3 chips, more than --chips 2: give"):
        RunFolder.open(tmp_path / "run", fewer, resume=True, stages=["hwa"])


def test_other_chips_without_resume_are_refused(tmp_path):
    _measured_on(tmp_path / "run", 2)
    with pytest.raises(FileExistsError, match="finished: add --resume"):
        RunFolder.open(tmp_path / "run", {**IDENTITY, "chips": 3}, resume=False)


def test_unfinished_run_asks_for_resume(tmp_path):
    RunFolder.open(tmp_path / "run", IDENTITY, resume=False).finish_stage("digital", {})
    with pytest.raises(FileExistsError, match=r"unfinished \(stages done: digital\): add --resume"):
        RunFolder.open(tmp_path / "run", IDENTITY, resume=False)


def test_finished_run_asks_for_resume_or_another_folder(tmp_path):
    RunFolder.open(tmp_path / "run", IDENTITY, resume=False).finish()
    with pytest.raises(FileExistsError, match="finished: add --resume to see its table again"):
        RunFolder.open(tmp_path / "run", IDENTITY, resume=False)


def test_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="not the folder of a run: give another with --out"):
        RunFolder.open(tmp_path, IDENTITY, resume=True)
    assert list(_contents(tmp_path)) == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}'])
def test_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run.json' is damaged"):
        RunFolder.open(tmp_path, IDENTITY, resume=True)


def test_newer_format_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 2, "identity": {}, "stages": {}}')
    with pytest.raises(ValueError, match="has format 2, this version reads 1"):
        RunFolder.open(tmp_path, IDENTITY, resume=True)


def test_changed_versions_are_told(tmp_path):
    folder = RunFolder.open(tmp_path / "run", IDENTITY, resume=False)
    folder.start_session({"torch": "2.6", "numpy": "2.0"}, "2 cores", ["run"])
    assert folder.changed_versions({"torch": "2.7", "numpy": "2.0"}) == ["torch 2.6 is now 2.7"]
