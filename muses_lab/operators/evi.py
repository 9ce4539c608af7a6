"""The enhanced vegetation index."""

from __future__ import annotations

from muses_lab.operators.indices import Value, index, ratio


@index("muses:evi")
def evi(nir: Value, red: Value, blue: Value) -> Value:
    """Enhanced vegetation index 2.5 (nir - red) / (nir + 6 red - 7.5 blue + 1), Huete et al. 2002.

    ```python
    s2.evi()
    ```

    Of surface reflectances between 0 and 1, as products give them: unlike a normalised difference it is another index
    for stored integers or percents. Coefficients of MODIS, as for Sentinel-2 and Landsat. Missing where the denominator
    is 0; over clouds and snow, where blue is high, it may be near 0 and the index of any size: mask clouds first. The
    result has no bands; with `target_band` it is added to the bands that are there.

    Huete, A. et al. (2002), Remote Sensing of Environment 83, 195–213, doi:10.1016/S0034-4257(02)00096-2.
    """
    return 2.5 * ratio(nir - red, nir + 6 * red - 7.5 * blue + 1)
