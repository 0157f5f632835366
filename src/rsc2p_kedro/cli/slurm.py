"""`kedro recordings slurm`: a script of jobs for SLURM, for laboratories that want no Dask."""

import shlex
import sys
from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata
from kedro.utils import find_kedro_project

from rsc2p_kedro.cli.environment import environment, no_recordings, read_recordings

PACKAGE = __name__.partition(".")[0]

_MOST_TASKS = 1000
"""Tasks of an array that SLURM accepts with its default setting, MaxArraySize=1001."""

_TEMPLATE = """\
#!/bin/bash
# Recordings of environment {env} on SLURM, written by `kedro recordings slurm`. Start it with: bash {output}
# {what} What is fresh is not made again, so the same command makes what is
# missing after a failure. Then one job makes the tables and pages over all recordings that have results.
set -euo pipefail
cd {folder}
mkdir -p {logs}

options=({options})

recordings=({names}
)

first=$(sbatch --parsable --job-name=rsc2p{array} --output={logs}/{log}.out "${{options[@]}}" <<JOB
#!/bin/bash
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
recordings=(${{recordings[@]}})
{commands}
JOB
)
last=$(sbatch --parsable --job-name=rsc2p-all --dependency="afterany:$first" --output={logs}/all-%j.out \\
    "${{options[@]}}" --wrap="{run} --pipelines=all_recordings")
echo "Submitted job $first ({count} recordings), then job $last (tables and pages). Their output: {logs}"
"""

_OF_ARRAY = """\
for name in "\\${{recordings[@]:SLURM_ARRAY_TASK_ID*{per_task}:{per_task}}}"; do
    {run} --namespaces="\\$name" {alone} || failed=1
done
exit \\${{failed:-0}}"""

_OF_ONE_JOB = "{run} {alone}"


@click.command()
@env_option
@click.option("--array/--no-array", default=True, help="One task a recording (default), or one job for all of them.")
@click.option("--output", default="slurm_recordings.sh", show_default=True, help="The script to write.")
@click.option("--cores", default=4, show_default=True, type=click.IntRange(min=1), help="Cores of each task.")
@click.option("--memory", default="8G", show_default=True, help="Memory of each task, as SLURM writes it.")
@click.option("--time", "walltime", default="04:00:00", show_default=True, help="Longest time of each task.")
@click.option("--partition", help="Partition. Without it, that of the site.")
@click.option("--at-once", type=click.IntRange(min=1), help="Tasks at the same time, at most.")
@click.option("--per-task", default=1, show_default=True, type=click.IntRange(min=1), help="Recordings of each task.")
@click.option("--sbatch", "further", multiple=True, help="A further option of sbatch, such as --sbatch=--account=lab.")
@click.pass_obj
def slurm(
    project: ProjectMetadata,
    env: str | None,
    array: bool,
    output: str,
    cores: int,
    memory: str,
    walltime: str,
    partition: str | None,
    at_once: int | None,
    per_task: int,
    further: tuple[str, ...],
) -> None:
    """Write a script that runs all recordings as a job array of SLURM."""
    names = [recording.session_name for recording in read_recordings(project, env)]
    if not names:
        raise click.ClickException(no_recordings(env))
    options = [f"--cpus-per-task={cores}", f"--mem={memory}", f"--time={walltime}"]
    options += [f"--partition={partition}"] if partition else []
    script = slurm_script(
        [*dict.fromkeys(names)],
        folder=Path(project.project_path),
        env=environment(env),
        output=output,
        options=[*options, *further],
        cores=cores,
        array=array,
        at_once=at_once,
        per_task=per_task,
    )
    Path(output).write_text(script, encoding="utf-8")
    n_tasks = -(-len(names) // per_task)
    if array and n_tasks > _MOST_TASKS:
        click.echo(
            f"These are {n_tasks} tasks. SLURM takes {_MOST_TASKS} in one array unless MaxArraySize is larger "
            f"(`scontrol show config`); --per-task={-(-len(names) // _MOST_TASKS)} makes few enough."
        )
    click.echo(f"{output}: {len(names)} recording(s). Submit the jobs with: bash {output}")


def slurm_script(
    names: list[str],
    *,
    folder: Path,
    env: str,
    output: str,
    options: list[str],
    cores: int,
    array: bool = True,
    at_once: int | None = None,
    per_task: int = 1,
) -> str:
    """Writes a script that submits the jobs of some recordings.

    Args:
        names: of the recordings.
        folder: of the project.
        env: environment.
        output: name of the script, for its own text.
        options: of `sbatch`, for each job.
        cores: of each job.
        array: one task for each recording, or for `per_task` of them. If False, one job runs all.
        at_once: tasks at the same time at most. None leaves that to SLURM.
        per_task: recordings of each task.

    Returns:
        A script for bash.
    """
    command = [sys.executable, "-m", *(["kedro"] if find_kedro_project(folder) else [PACKAGE]), "run", "--env", env]
    run = shlex.join(command)
    compute = f"--params=compute.threads={cores},compute.show_progress=false"
    alone = shlex.join(["--runner=local", "--runner-params=joint=False", compute])
    n_tasks = -(-len(names) // per_task)
    limit = f"%{at_once}" if at_once else ""
    return _TEMPLATE.format(
        env=env,
        output=output,
        what="One task for each recording." if array and per_task == 1 else "A task runs some recordings.",
        folder=shlex.quote(str(folder)),
        logs="data/08_reporting/logs/slurm",
        options=shlex.join(options),
        run=run,
        names="".join(f"\n    {name}" for name in names),
        array=f" --array=0-{n_tasks - 1}{limit}" if array else "",
        log="%A_%a" if array else "%j",
        commands=(_OF_ARRAY if array else _OF_ONE_JOB).format(run=run, alone=alone, per_task=per_task),
        count=len(names),
    )
