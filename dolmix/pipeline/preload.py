"""Loaded once in the process that workers are forked from: importing it prepares that process."""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to see, while this loads too

from dolmix.pipeline.warm import warm_up_from_environment  # noqa: E402
from dolmix.pipeline.worker import die_with_parent, tie_children  # noqa: E402

die_with_parent()  # workers die with this process, so it must die with the run
tie_children()
warm_up_from_environment()
