"""What a process has: memory, a cache, threads, measured rates, a way to cancel."""
