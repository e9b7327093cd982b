"""The command line: one module a noun; parse, one library call, render."""
