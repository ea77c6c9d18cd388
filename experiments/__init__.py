"""One command per question: a configuration, a call into the library, a table.

In a checkout a command is `python -m experiments.NAME`, with an installed wheel it is
`lantern-probe NAME`. The files are the same, so imports among them are relative.

A command answers `--help`, and refuses what cannot be used, before anything heavy is loaded. So
the top of each module imports only what its configuration needs, and what needs torch, scipy or
matplotlib is imported inside the functions that run, measure, print and draw.
"""
