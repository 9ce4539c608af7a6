"""What a product is: its bands, what their numbers mean, what hides the ground; and items as scenes."""

from muses_lab.products.known import profile_of, profiles
from muses_lab.products.profile import CloudMask, KnownMask, Profile
from muses_lab.products.resolve import Problem, Product, SkippedItems, product, scenes

__all__ = [
    "CloudMask",
    "KnownMask",
    "Problem",
    "Product",
    "Profile",
    "SkippedItems",
    "product",
    "profile_of",
    "profiles",
    "scenes",
]
