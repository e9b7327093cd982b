"""The bundled trainer: a mixture-of-experts language model on exactly one locked mix.

It meets dolmix at the lock and the stores only. The same code runs on two CPU cores with gloo and
on GPUs with NCCL, one process each, sharded by FSDP2. `python -m trainer CONFIG` is one process of
a run; `dolmix train CONFIG` starts them all.
"""

import os

# Read when torch loads: threads that spin while they wait halve the speed of a machine in use.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
