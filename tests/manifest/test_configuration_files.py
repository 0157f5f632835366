"""A file of the configuration that cannot be read is named, with the line and what to do."""

from pathlib import Path

import pytest

from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader
from rsc2p_kedro.manifest.configuration_files import ConfigurationError, file_problem

GOOD = "recordings:\n  a:\n    b: {path: x, frame_rate_hz: 10}\n"


def parameters(folder: Path, content: bytes) -> dict:
    for env, text in (("base", b"recordings: {}\n"), ("local", content), ("unused", b"\tbroken")):
        (folder / env).mkdir()
        (folder / env / "parameters_recordings.yml").write_bytes(text)
    return ManifestConfigLoader(str(folder), env="local", base_env="base", default_run_env="local")["parameters"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"recordings:\n\ta: 1\n", "line 2: .*begins with a tab: indent with spaces"),
        (b"- a\n- b\n", "holds a list or a single value"),
        (b"recordings:\n  a:\n    b: {path: '${nowhere.x}'}\n", r"line 3: Interpolation key 'nowhere.x' not found"),
        (b"recordings:\n  a:\n    b: {path: '${env:HOME}'}\n", "line 3: Unsupported interpolation type env"),
        (b"recordings:\n  a:\n    b: {path: '${x'}\n", "no viable alternative"),
        (GOOD.encode() + b"recordings: {}\n", "line 4: found duplicate key recordings.*occur only once"),
        ("recordings: # Gefäß\n".encode("latin-1"), "line 1: the file is not in UTF-8"),
        (GOOD.encode("utf-16"), "line 1: the file is not in UTF-8"),
        (GOOD.encode()[:-12], "line 3: expected"),
        (b"recordings:\n  a:\n    path:x\n    rate: 1\n", "line 4: mapping values.*a space follows each colon"),
        (b"recordings: {}\n\0\0\0", "unacceptable character"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_remedy(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=rf"local/parameters_recordings\.yml.*{message}"):
        parameters(tmp_path, content)


@pytest.mark.parametrize("content", [GOOD.encode(), b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("x", "ß").encode()])
def test_sound_files_are_read_with_or_without_a_mark(tmp_path, content):
    assert parameters(tmp_path, content)["recordings"]["a"]["b"]["frame_rate_hz"] == 10
    assert file_problem(tmp_path / "local" / "parameters_recordings.yml") == ""


def test_an_empty_file_says_nothing(tmp_path):
    assert parameters(tmp_path, b"") == {"recordings": {}}
