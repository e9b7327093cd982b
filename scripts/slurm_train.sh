#!/usr/bin/env bash
# One training run over many machines with Slurm; it goes on by itself after preemption and time limits.
#
#   sbatch --nodes=4 scripts/slurm_train.sh configs/train/olmoe-1b-7b.yaml output=/shared/runs/olmoe
#
# One process a GPU, which Slurm starts; lock, stores and output lie where all machines see them. Each machine holds
# a whole model (`parallel.replicas`, hybrid sharding) unless an argument says otherwise. Before the time limit, and
# when Slurm wants the machines back, the processes write a checkpoint and end with 130: the job queues again and
# goes on from there. Any other end is final.
#SBATCH --job-name=dolmix-train
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@600
set -uo pipefail

if [ $# -lt 1 ]; then
  echo "usage: sbatch [--nodes=N] scripts/slurm_train.sh CONFIG [key.path=value]..." >&2
  exit 2
fi
nodes=${SLURM_JOB_NUM_NODES:?run this with sbatch}
tasks=${SLURM_NTASKS_PER_NODE:?set --ntasks-per-node, one task a GPU}

MASTER_ADDR=$(scontrol show hostnames "${SLURM_JOB_NODELIST:?}" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
export WORLD_SIZE=$((nodes * tasks)) LOCAL_WORLD_SIZE=$tasks
# As `dolmix train` sets them: threads that wait do not spin, freed memory is kept.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=PASSIVE
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1073741824

# Settings that come later win: the caller's replace these.
set -- "$1" "parallel.replicas=$nodes" "${@:2}"

# shellcheck disable=SC2016 # each task expands its own numbers
srun --kill-on-bad-exit=1 bash -c \
  'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec python -m trainer "$@"' trainer "$@" &
run=$!

# srun passes SIGTERM on to every task; one that hears it is enough.
trap 'kill -TERM "$run" 2>/dev/null' USR1 TERM
while wait "$run"; kill -0 "$run" 2>/dev/null; do :; done # a signal ends `wait`, not the run
wait "$run" # bash knows the code of the run, though a signal may have ended the `wait` before
code=$?

if [ "$code" -eq 130 ]; then
  echo "interrupted with a checkpoint; job $SLURM_JOB_ID queues again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
