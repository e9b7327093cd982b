"""Loaded once in the process that workers are forked from: importing it prepares that process."""

import signal

from dolmix.pipeline.worker import die_with_parent, tie_children

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to see
die_with_parent()  # workers die with this process, so it must die with the run
tie_children()
