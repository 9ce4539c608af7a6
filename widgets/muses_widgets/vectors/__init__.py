"""Points, lines and polygons on the map: how they are drawn, and as a layer."""
