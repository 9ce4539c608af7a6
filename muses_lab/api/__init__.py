"""What users hold: collections, chains, layers, jobs."""
