import shutil

import pytest

from aimc_lightning.recipes.html_report.run_data import read_runs


def test_finished_run_is_read_whole(run):
    (found,) = read_runs([run], [])
    assert found.notes == []
    assert found.results.chance == 0.1
    assert [len(layers) for layers in found.weights.values()] == [8, 8]
    assert list(found.weights) == ["digital", "hwa"]
    assert found.mapping.tiles == 9
    assert found.mapping.samples == 4
    assert len(found.configs) == 1


def test_damaged_checkpoint_is_noted_and_the_rest_shown(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "hwa/trained.ckpt").write_bytes(b"no checkpoint")
    (found,) = read_runs([copy], [])
    assert any(note.startswith("No retrained weights") for note in found.notes)
    assert list(found.weights) == ["digital"]
    assert found.results is not None


def test_runs_of_one_name_are_told_apart_by_their_paths(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "good")
    assert [found.label for found in read_runs([run, copy], [])] == [str(run), str(copy)]


def test_same_run_twice_and_other_folders_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="given twice"):
        read_runs([run, run], [])
    with pytest.raises(FileNotFoundError, match=r"not the folder of a run, it has no run\.json"):
        read_runs([run, tmp_path], [])
