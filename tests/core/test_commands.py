"""Messages recommend commands that exist where they are read."""

from rsc2p_kedro.core.commands import command, use_environment


def test_commands_of_a_project_are_kedros(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\npackage_name = 'x'\n")
    monkeypatch.chdir(tmp_path)
    assert command("run", None) == command("run", "local") == "kedro run"
    assert command("recordings check", "demo") == "kedro recordings check --env demo"


def test_commands_without_an_environment_are_those_of_the_running_session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use_environment("demo")
    assert command("run").endswith("run --env demo")
    assert command("run", "other").endswith("run --env other")
    use_environment(None)
    assert command("run").endswith(" run")


def test_the_installed_package_has_commands_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("recordings check", "demo") == "python -m rsc2p_kedro recordings check --env demo"
