"""MUSES Lab: deferred Earth-observation processing chains, computed where and when they are looked at."""
