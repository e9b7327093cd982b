"""Curation: one file in, decisions and committed stores out.

`spec` is the file, `plan` cuts it into passes and tasks with keys, `engine` runs them, `passes`
holds what a task does, `decisions` what becomes of a document, `records` says what is done,
`funnel` counts what was kept and why the rest went, `findings` what to look at. `known` decides
again from columns that are there, for a run with other settings and for `whatif`; `why` explains
one document.
"""
