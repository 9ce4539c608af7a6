"""A stage by compiled code: the compiler, the machine that runs it, the sorting networks."""
