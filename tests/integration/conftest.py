"""Projects of their own for integration tests: the real configuration and code, data somewhere else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rsc2p_kedro.runners import RecordingRunner

ROOT = Path(__file__).parents[2]


class Project:
    """A copy of the project's configuration with its own data, that runs the project's own code."""

    def __init__(self, path: Path, recordings: dict[str, Any], **parameters: Any) -> None:
        self.path = path
        shutil.copytree(ROOT / "conf" / "base", path / "conf" / "base")
        shutil.copy(ROOT / "pyproject.toml", path)
        (path / "src").mkdir()  # the code is that of the installed package
        local = path / "conf" / "local"
        local.mkdir()
        values = {"recordings": recordings, "compute": {"threads": 2, "show_progress": False}, **parameters}
        (local / "parameters_test.yml").write_text(yaml.safe_dump(values), encoding="utf-8")

    def session(self, **options: Any) -> KedroSession:
        bootstrap_project(self.path)
        pipelines.set_requested(None)
        return KedroSession.create(project_path=self.path, **options)

    def run(self, *, params: dict[str, Any] | None = None, **options: Any) -> Any:
        with self.session(runtime_params=params) as session:
            return session.run(**{"runner": RecordingRunner(), **options})

    def load(self, name: str, **options: Any) -> Any:
        with self.session() as session:
            return session.load_context()._get_catalog(**options).load(name)


@pytest.fixture(scope="session")
def make_project(tmp_path_factory) -> Callable[..., Project]:
    """Makes a project for recordings: {animal: {session: facts}}, and parameters that differ from the defaults."""
    return lambda recordings, **parameters: Project(tmp_path_factory.mktemp("project"), recordings, **parameters)


SUBJECT = {"species": "Mus musculus", "sex": "U", "age": "P90D"}
SESSION = {
    "session_start_time": "2019-05-06T10:30:00+02:00",
    "session_description": "A recording for tests.",
    "experimenter": ["Doe, Jane"],
    "institution": "Nowhere",
    "experiment_description": "To test.",
    "keywords": ["test"],
}
PLANE = {
    "indicator": "GCaMP6f",
    "location": "RSPagl",
    "excitation_wavelength_nm": 920,
    "emission_wavelength_nm": 510,
}


def simulated(path: str, **settings: Any) -> dict[str, Any]:
    """A small recording made up for tests, not square."""
    return {
        "path": path,
        "frame_rate_hz": 14.7,
        "pixel_size_um": [1.2, 1.2],
        "subject": SUBJECT,
        "session": SESSION,
        "imaging_plane": PLANE,
        "simulation": {"n_frames": 500, "height_px": 96, "width_px": 128, "n_neurons": 16, "photons": 20} | settings,
    }
