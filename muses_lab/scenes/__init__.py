"""Scenes: the pinned list of inputs that a published chain refers to by digest."""
