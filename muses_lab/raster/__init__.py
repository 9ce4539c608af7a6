"""Raster files: the one way to open them, what they say of themselves, and the files beside them that count."""
