"""Places that are kept: points and polygons, their layer on the map, their tables and files."""
