"""The code blocks of docs/hub.md run, in their order."""

import re


def test_python_blocks_run(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "hub.md").read_text(), re.DOTALL)
    names = {"__name__": "docs"}
    for block in blocks:
        exec(block, names)
    assert "torch.Size([1, 10])" in capsys.readouterr().out
    assert names["again"].body.weight.shape == (16, 4)


def test_shell_lines_are_commands(root):
    from aimc_lightning.recipes.cli import _parser

    blocks = re.findall(r"```sh\n(.*?)```", (root / "docs" / "hub.md").read_text(), re.DOTALL)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "aimc-lightning"
        _parser().parse_args(words[1:])
