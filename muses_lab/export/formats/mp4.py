"""MP4 of a layer over time: H.264, which every browser, phone and slide program plays."""

from __future__ import annotations

from muses_lab.export.video import Video

WRITER = Video("MP4", ".mp4", "libx264", {"crf": "18", "preset": "medium", "movflags": "+faststart"})
