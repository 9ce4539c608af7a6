"""The panel of a chain: its graph, its documents, its faults and differences."""
