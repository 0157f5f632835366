"""Which runner `kedro run` takes, and with which options."""

from importlib import import_module

import click
import pytest
from kedro.utils import load_obj

from rsc2p_kedro.cli.run import PARTS, run
from rsc2p_kedro.runners import DaskRunner, ProjectRunner, RecordingRunner


@pytest.fixture
def given(monkeypatch):
    """What Kedro's own command gets of some words."""

    def call(*words: str) -> dict:
        seen: dict = {}
        monkeypatch.setattr(
            import_module("rsc2p_kedro.cli.run"), "_kedro_callback", lambda **options: seen.update(options)
        )
        run.main([*words], standalone_mode=False)
        return seen

    return call


@pytest.mark.parametrize(
    ("words", "runner"),
    [
        ([], ProjectRunner),
        (["--runner", "dask"], DaskRunner),
        (["--runner", "local"], RecordingRunner),
        (["--runner", "rsc2p_kedro.runners.DaskRunner"], DaskRunner),
    ],
)
def test_a_runner_of_the_project_completes_what_is_needed_and_can_be_forced(given, words, runner):
    options = given(*words, "--force")
    assert load_obj(options["runner"], "kedro.runner") is runner
    assert options["runner_params"] == {"force": True, "complete": True}
    assert isinstance(runner(**options["runner_params"]), RecordingRunner)
    assert given(*words, "--tags", "a")["runner_params"] == {"force": False, "complete": False}
    assert "tags" in PARTS


def test_options_of_a_runner_that_are_given_count(given):
    options = given("--namespaces", "a.1", "--runner-params", "joint=False")
    assert options["runner_params"] == {"force": False, "complete": True, "joint": False}


def test_runners_of_kedro_are_left_alone(given):
    options = given("--runner", "SequentialRunner")
    assert options["runner"] == "SequentialRunner"
    assert not options["runner_params"]
    with pytest.raises(click.UsageError, match="name dask or local"):
        given("--runner", "SequentialRunner", "--force")
