"""Nothing of this machine is in the archive of the configuration."""

import tarfile
from pathlib import Path

from rsc2p_kedro.cli.package import remove_private


def test_nothing_below_conf_local_is_packed_and_everything_else_is_as_it_was(tmp_path: Path) -> None:
    files = {
        "conf/base/catalog.yml": "a",
        "conf/demo/local.yml": "b",
        "conf/local/parameters.yml": "secret",
        "conf/local/notes.txt": "secret",
        "conf/local/keys/token.json": "secret",
        "conf/logging.yml": "c",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    archive = tmp_path / "conf.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "conf", arcname="conf")
    remove_private(archive)
    with tarfile.open(archive) as packed:
        kept = {member.name: packed.extractfile(member).read().decode() for member in packed if member.isfile()}
        folders = {member.name for member in packed if member.isdir()}
    assert kept == {name: text for name, text in files.items() if not name.startswith("conf/local/")}
    assert "conf/local" in folders  # Kedro wants the folder of its default environment
    assert list(tmp_path.glob(".*")) == []
