import pytest

from aimc_lightning.recipes.cli import main
from tests.recipes.html_report.conftest import make_run


def test_page_is_written_once_and_replaced_only_when_asked(tmp_path, capsys):
    begun = make_run(tmp_path / "begun", stages=())
    out = tmp_path / "page.html"
    main(["report", str(begun), "--out", str(out), "--traceback"])
    first = out.read_text()
    assert "Nothing was measured on chips yet" in first
    assert "digital, direct, hwa not done" in " ".join(capsys.readouterr().out.split())
    out.write_text("mine")
    with pytest.raises(SystemExit):
        main(["report", str(begun), "--out", str(out)])
    assert "add --force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    main(["report", str(begun), "--out", str(out), "--force"])
    assert out.read_text() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "not the folder of a run"),
        ([".", "--out", "missing/page.html"], "'missing' is missing"),
        ([".", "--out", "."], "is a folder"),
        ([".", "--constants", "mine.yaml"], "unknown constants 'mine.yaml'"),
    ],
)
def test_what_cannot_be_reported_says_why(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["report", *arguments])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
