"""From a query to pinned scenes, and from a chain to its published document."""
