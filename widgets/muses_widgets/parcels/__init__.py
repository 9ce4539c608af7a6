"""The panel of parcels: statistics of many polygons."""
