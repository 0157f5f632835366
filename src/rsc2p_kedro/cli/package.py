"""`kedro package`: Kedro's own command, with conf/local excluded from the archive of the configuration."""

import tarfile
from pathlib import Path

import click
from kedro.framework.cli.project import package as kedro_package
from kedro.framework.startup import ProjectMetadata

PRIVATE = "local"


@click.command(help=kedro_package.help)
@click.pass_context
def package(context: click.Context) -> None:
    """Packages the project, and removes the settings of this machine from the archive."""
    context.invoke(kedro_package)
    metadata: ProjectMetadata = context.obj
    remove_private(Path(metadata.project_path) / "dist" / f"conf-{metadata.package_name}.tar.gz")


def remove_private(archive: Path) -> None:
    """Removes all files of conf/local from an archive. Kedro itself excludes `local/*.yml` only.

    Args:
        archive: a `.tar.gz` with the folder `conf`; it is replaced at once, or not at all.
    """
    cleaned = archive.with_name(f".{archive.name}.tmp")
    with tarfile.open(archive) as source, tarfile.open(cleaned, "w:gz") as target:
        for member in source:
            parts = Path(member.name).parts
            if PRIVATE not in parts[:2] or member.isdir():
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
    cleaned.replace(archive)
