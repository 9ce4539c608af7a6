"""WebM of a layer over time: VP9, free of patents, for browsers; smaller than MP4, and slower to write."""

from __future__ import annotations

from muses_lab.export.video import Video

WRITER = Video(
    "WebM", ".webm", "libvpx-vp9", {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
)
