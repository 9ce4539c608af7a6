"""Who waits for whom: one pool for each kind of work, so that tiles never wait for documents."""

from __future__ import annotations

from muses_lab.resources.pool import Pool


class Pools:
    """The service's pools. What a tile of a known chain takes is in the first two, and nothing slow ever is.

    Parameters
    ----------
    seconds
        How long a request waits at the longest (`MUSES_TILE_TIMEOUT`).
    """

    def __init__(self, seconds: float) -> None:
        self.pictures = Pool("drawing", 4, seconds)
        """Blocks put together, pictures drawn: computing only."""
        self.plans = Pool("finding blocks", 8, seconds, each=2)
        """Which blocks a tile needs, by chain: some milliseconds, for very long lists of scenes seconds."""
        self.results = Pool("evaluating whole areas", 8, None, waiting=64)
        """`region` and `fit` nodes, which tiles wait for together and which go on without them, for minutes."""
        self.loading = Pool("loading", 8, seconds)
        """Chains and styles that are asked for the first time, from the store."""
        self.publishing = Pool("publishing", 4, seconds, waiting=64)
        """Posted chains: catalogues are asked, which may take long."""
        self.records = Pool("the store", 4, seconds)
        """All else that is asked of the store."""
        self.downloads = Pool("downloads", 2, seconds, waiting=64)
        """Exports that are downloaded, a piece at a time; their disks may be slow."""
        self.uploads = Pool("uploads", 2, seconds, waiting=64)
        """Files that users drop on their maps, a piece at a time."""
        self.basemap = Pool("the base map", 2, seconds)
        self.cluster = Pool("the cluster", 4, max(seconds, 180), waiting=64)
        """Starting a cluster of a gateway takes up to two and a half minutes."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Calls that run, wait, and are abandoned, by pool."""
        return {name: pool.counts() for name, pool in vars(self).items()}
