"""The code in README.md runs, and what it promises of the command line and make is there."""

import re

import pytest


def _blocks(root, language):
    text = (root / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*GPU available.*")
def test_python_example_runs(root, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks(root, "python")
    for long, short in (("max_epochs=20", "max_epochs=1"), ("max_epochs=5", "max_epochs=1")):
        assert long in code
        code = code.replace(long, short)
    exec(compile(code.replace("chips=25", "chips=1"), "README.md", "exec"), {})
    assert "1 year" in capsys.readouterr().out


def test_shell_examples_name_existing_commands_and_targets(root):
    shell = "\n".join(_blocks(root, "sh"))
    makefile = (root / "Makefile").read_text()
    commands = (root / "recipes" / "cli.py").read_text()
    for target in re.findall(r"^make (\w+)", shell, re.M):
        assert f"\n{target}:" in makefile
    for command in re.findall(r"^aimc-lightning (\w+)", shell, re.M):
        assert command in commands or (root / "recipes" / "commands" / f"{command}.py").is_file()
