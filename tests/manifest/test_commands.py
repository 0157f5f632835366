"""Messages recommend commands that exist where they are read."""

from rsc2p_kedro.manifest.commands import command


def test_commands_of_a_project_are_kedros(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\npackage_name = 'x'\n")
    monkeypatch.chdir(tmp_path)
    assert command("run", None) == command("run", "local") == "kedro run"
    assert command("recordings check", "demo") == "kedro recordings check --env demo"


def test_the_installed_package_has_commands_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("recordings check", "demo") == "python -m rsc2p_kedro recordings check --env demo"
