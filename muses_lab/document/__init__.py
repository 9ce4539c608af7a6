"""Documents: openEO process graphs, canonical JSON, hashes."""
