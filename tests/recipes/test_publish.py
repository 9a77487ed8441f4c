import csv
import shutil
from io import StringIO
from itertools import pairwise

import pytest

from aimc_lightning.recipes.cli import main as command_line
from aimc_lightning.recipes.publish import (
    entry_table,
    generated_files,
    main,
    read_results,
    results_of_run,
    summary_table,
)


def _repository(root, target):
    """Copy what the tables are made from and stand in."""
    for pattern in ("README.md", "recipes/README.md", "zoo/*/card.md", "recipes/*/README.md"):
        for path in root.glob(pattern):
            copy = target / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return target


def test_committed_tables_are_what_the_results_say(root):
    for path, text in generated_files(root).items():
        assert path.read_text(encoding="utf-8") == text, f"out of date: {path}"


def test_run_is_published_with_its_own_numbers(root, short_run, tmp_path):
    command_line(short_run("resnet8_digits"))
    target = _repository(root, tmp_path / "repository")
    main([str(tmp_path / "run"), "--root", str(target)])
    rows = read_results(target / "zoo" / "resnet8_digits" / "results.csv")
    assert [row["stage"] for row in rows] == ["digital"] + ["direct"] * 4 + ["hwa"] * 4
    last = (tmp_path / "run" / "drift.csv").read_text().splitlines()[-1].split(",")
    assert float(rows[-1]["mean"]) == pytest.approx(float(last[4]), rel=1e-5)
    card = (target / "zoo" / "resnet8_digits" / "card.md").read_text()
    assert f"| HWA trained | {100 * float(rows[5]['mean']):.2f} +- 0.00" in card
    assert "| resnet8_digits |" in (target / "README.md").read_text()
    main(["--root", str(target), "--check"])


def test_run_by_another_schedule_is_kept_beside_that_of_the_entry(root, short_run, tmp_path):
    command_line(short_run("resnet8_digits"))
    target = _repository(root, tmp_path / "repository")
    main([str(tmp_path / "run"), "--root", str(target)])
    before = (target / "README.md").read_text()
    main([str(tmp_path / "run"), "--root", str(target), "--as", "short_schedule"])
    folder = target / "zoo" / "resnet8_digits"
    assert read_results(folder / "results_short_schedule.csv") == read_results(
        folder / "results.csv"
    )
    card = (folder / "card.md").read_text()
    assert card.count("| HWA trained |") == 2
    assert "### short schedule" in card
    assert (target / "README.md").read_text() == before


def test_stages_without_training_take_the_time_of_their_network(root, short_run, tmp_path):
    command_line([*short_run("resnet8_digits"), "--recalibrate", "batch_norm"])
    rows = {row["stage"]: row for row in csv.DictReader(StringIO(results_of_run(tmp_path / "run")))}
    assert list(rows) == ["digital", "direct", "direct+bn", "hwa", "hwa+bn"]
    assert rows["hwa+bn"]["seconds"] == rows["hwa"]["seconds"]
    assert rows["hwa"]["command"].startswith(
        "aimc-lightning run resnet8_digits --chips 1 --recalibrate batch_norm --set "
    )


def test_stages_on_different_chips_are_told_apart(short_run, tmp_path):
    command = short_run("resnet8_digits")
    command_line(command)
    more = ["2" if before == "--chips" else word for before, word in pairwise(["", *command])]
    command_line([*more, "--resume", "--stages", "hwa"])
    rows = list(csv.DictReader(StringIO(results_of_run(tmp_path / "run"))))
    assert {(row["stage"], row["chips"]) for row in rows[1:]} == {("direct", "1"), ("hwa", "2")}
    assert {row["stage"] for row in rows if "--chips 1" in row["command"]} == {"direct"}
    assert "over 2 chips (directly mapped: 1), in brackets" in entry_table(rows)
    assert summary_table({"resnet8_digits": rows}).splitlines()[2].endswith("| 2 (direct 1) |")


def test_score_stands_under_its_time(root):
    rows = read_results(root / "zoo" / "resnet8_digits" / "results.csv")
    without = [row for row in rows if (row["stage"], row["t_inference_s"]) != ("hwa", "3600.0")]
    before, after = (entry_table(table).splitlines()[6].split(" | ") for table in (rows, without))
    assert before[0] == "| HWA trained"
    assert after == [*before[:2], "", *before[3:]]


def test_table_edited_by_hand_fails_the_check(root, tmp_path):
    target = _repository(root, tmp_path)
    readme = target / "README.md"
    text = readme.read_text()
    assert "| entry |" in text
    readme.write_text(text.replace("| entry |", "| network |"))
    with pytest.raises(SystemExit, match=r"README.md is out of date: run python -m"):
        main(["--root", str(target), "--check"])


def test_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no finished run: finish it with --resume"):
        results_of_run(tmp_path)


def test_file_without_a_place_for_the_table_is_named(root, tmp_path):
    target = _repository(root, tmp_path)
    (target / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match=r"README.md' has no place|README.md has no place"):
        generated_files(target)
