"""Computations of their own, independent of the engine, that its pixels are compared with."""
