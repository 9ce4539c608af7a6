"""The class's evaluator: one process of the hub that computes the blocks of a course's maps once for all participants.

`python -m muses_lab.evaluator` runs it, as JupyterHub's service `course`. What it takes is read in `chains.py` (a
document of registered operators, over scenes that a published course pins), who is next in `turns.py`, and how a block
is shared in `blocks.py`. It never unpickles, and nobody but itself writes what it keeps.
"""
