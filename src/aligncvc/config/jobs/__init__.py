"""What each kind of job reads, and nothing else: one small frozen model a stage.

`config.plan` makes them from a configuration; the workflow writes each to `results/settings/`, where its hash
is the rule's parameter and the file is all that the stage is given.
"""
