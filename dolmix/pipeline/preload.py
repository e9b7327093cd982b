"""Loaded once in the process that workers are forked from: importing it prepares that process."""

import signal

from dolmix.pipeline.worker import tie_children

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to see
tie_children()
