"""Processes of openEO that are not here, and why; told where a document calls them, and on the page of processes."""

from __future__ import annotations

from collections.abc import Mapping

_CORRECTED = "scenes are used as they are catalogued; choose a collection that is corrected already"

REFUSED: Mapping[str, str] = {
    "ard_normalized_radar_backscatter": f"radar is not calibrated here: {_CORRECTED} (RTC)",
    "ard_surface_reflectance": f"images are not corrected for the atmosphere here: {_CORRECTED} (Level 2A)",
    "atmospheric_correction": f"images are not corrected for the atmosphere here: {_CORRECTED} (Level 2A)",
    "sar_backscatter": f"radar is not calibrated here: {_CORRECTED} (RTC)",
    "cloud_detection": "clouds are not searched for; the masks of products are taken by `mask`, or .mask_clouds()",
    "create_data_cube": "a cube without pixels has no place on Earth; begin with a collection, or load_url",
    "geocode": "places have names where a collection begins, ml.collection(id).near('Toulouse'), and in no document",
    "load_result": "results of jobs have no ids here; they are files: load_url, or ml.open_raster(path)",
    "load_uploaded_files": "nothing is uploaded here; files are opened where they lie: ml.open_raster(path)",
    "run_udf_externally": "code runs on its author's own cluster only: run_udf",
}
"""Process → reason, and what to do instead."""
