"""The Slurm script: what it starts on each machine, and when the job queues again."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from zygote import ROOT, wait_for

SCRIPT = ROOT / "scripts" / "slurm_train.sh"
FAKES = {
    "scontrol": """
case $1 in
  show) printf 'node7\\nnode8\\n' ;;
  *) echo "$@" >> "$SEEN/scontrol" ;;
esac""",
    # Two machines of two tasks; ends with the highest code, passes SIGTERM on, as srun does.
    "srun": """
[ "$ENDS" = killed ] && exit 143
shift
trap 'kill -TERM "${tasks[@]}"' TERM
for n in 0 1 2 3; do SLURM_PROCID=$n SLURM_LOCALID=$((n % 2)) "$@" & tasks+=($!); done
highest=0
for task in "${tasks[@]}"; do
  wait "$task"; code=$?
  while [ $code -eq 143 ]; do wait "$task"; code=$?; done
  [ $code -gt $highest ] && highest=$code
done
exit $highest""",
    "python": """
trap 'exit 130' TERM
names="$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT"
echo "$names $*" > "$SEEN/task-$RANK"
if [ "$ENDS" = waits ]; then sleep 60 & wait $!; fi
exit "$ENDS" """,
}


@pytest.fixture
def submitted(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the script as Slurm would on two machines of two GPUs, with fake commands around it."""
    for name, body in FAKES.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{body.strip()}\n")
        path.chmod(0o755)

    def start(ends: str) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SEEN": str(tmp_path),
            "ENDS": ends,
            "SLURM_JOB_ID": "41",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_NTASKS_PER_NODE": "2",
            "SLURM_JOB_NODELIST": "node[7-8]",
        }
        return subprocess.Popen([SCRIPT, "a b.yaml", "output=x y", "seed=3"], env=environment)

    return start


def test_every_task_knows_its_place(
    submitted: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Ranks, world and address are torch's; arguments arrive whole, the caller's settings last."""
    assert submitted("0").wait(30) == 0
    arguments = "-m trainer a b.yaml parallel.replicas=2 output=x y seed=3"
    for rank in range(4):
        told = (tmp_path / f"task-{rank}").read_text()
        assert told == f"{rank} {rank % 2} 4 2 node7 20041 {arguments}\n"
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize(("code", "queues"), [(130, True), (1, False), (2, False)])
def test_only_an_interrupted_run_queues_again(
    submitted: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, code: int, queues: bool
) -> None:
    """130 says that there is a checkpoint to go on from; whatever else ends the job for good."""
    assert submitted(str(code)).wait(30) == code
    assert (tmp_path / "scontrol").exists() == queues


def test_a_run_that_slurm_kills_ends_the_job(
    submitted: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """143 of srun itself is the end of the run, not a signal to the script: no waiting for more."""
    assert submitted("killed").wait(30) == 143
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_time_limit_and_preemption_reach_the_tasks(
    submitted: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, number: signal.Signals
) -> None:
    """The signal before the time limit, and that of preemption, become SIGTERM for every task."""
    job = submitted("waits")
    wait_for(lambda: len([*tmp_path.glob("task-*")]) == 4, "tasks", 30)
    job.send_signal(number)
    assert job.wait(30) == 130
    assert (tmp_path / "scontrol").read_text() == "requeue 41\n"


def test_the_script_parses(tmp_path: Path) -> None:
    """Bash reads it without complaint, and shellcheck where there is one; usage is exit code 2."""
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if (shellcheck := shutil.which("shellcheck")) is not None:
        subprocess.run([shellcheck, SCRIPT], check=True)
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch")
