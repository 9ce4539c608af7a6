"""Series as tables: of places, of polygons; written to files, smoothed, drawn."""
