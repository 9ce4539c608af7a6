"""What a product is: its bands, what their numbers mean, what hides the ground; and items as scenes."""

from muses_lab.products.known import PROFILES, CloudMask, Profile, profile_of
from muses_lab.products.resolve import Problem, Product, SkippedItems, product, reflectance_offset, scenes

__all__ = [
    "PROFILES",
    "CloudMask",
    "Problem",
    "Product",
    "Profile",
    "SkippedItems",
    "product",
    "profile_of",
    "reflectance_offset",
    "scenes",
]
