"""Loaded once in the process that workers are forked from: importing it prepares that process."""

import gc
import signal

from dolmix.files.processes import die_with_parent, tie_children

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to see, while this loads too
die_with_parent()  # workers die with this process, so it must die with the run
tie_children()
gc.disable()  # nothing that is loaded is garbage

from dolmix.pipeline.warm import warm_up_from_environment  # noqa: E402

warm_up_from_environment()
gc.freeze()  # workers neither look through what was loaded, nor copy its pages for it
gc.enable()
