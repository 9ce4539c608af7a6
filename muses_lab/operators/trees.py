"""Trees of scikit-learn, applied by compiled code without Python's lock: the same numbers, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, uint64


@dataclass(frozen=True, eq=False)
class PackedTrees:
    """The trees of a forest, one after the other, each level by level, so that two children are neighbours.

    A node is 64 bits: the threshold as a whole number of the same order as float32, the feature, and the place of the
    left child in its tree. A leaf is its own left child, and nothing is above its threshold: who has arrived stays.
    """

    nodes: np.ndarray
    """int64."""
    roots: np.ndarray
    """uint64: where each tree begins, and the last one ends."""
    leaves: np.ndarray
    """uint64: for each node the row of `values`; of leaves only."""
    values: np.ndarray
    """float64 (leaf, output): the share of each class, or the one value of a regression."""
    shift: int
    """Bits of a left child's place."""

    @classmethod
    def of(cls, trees: Iterable[Any], features: int) -> PackedTrees:
        """Of scikit-learn's `Tree`s (`estimator.tree_`) of one output and so many features.

        Raises
        ------
        ValueError
            A tree has more nodes than can be told apart beside so many features (2^18 beside 10 000).
        """
        shift = 32 - max(1, (features - 1).bit_length())
        packed = [_packed(tree, shift) for tree in trees]
        sizes = np.cumsum([0, *(len(nodes) for nodes, _, _ in packed)])
        rows = np.cumsum([0, *(len(values) for _, _, values in packed)])
        leaves = [at + first for (_, at, _), first in zip(packed, rows, strict=False)]
        return cls(
            np.concatenate([nodes for nodes, _, _ in packed]), sizes.astype(np.uint64),
            np.concatenate(leaves).astype(np.uint64), np.concatenate([values for _, _, values in packed]), shift,
        )  # fmt: skip

    def mean(self, values: np.ndarray) -> np.ndarray:
        """What the trees give on average: float64 (pixel, output) of float32 (pixel, feature) without missing values.

        scikit-learn's `predict_proba` of a classifier and `predict` of a regressor: sums in the order of the trees.
        """
        keys = _ordered(np.ascontiguousarray(values, np.float32)).reshape(-1)
        out = np.zeros((len(values), self.values.shape[1]))
        add_leaves(
            keys, values.shape[1], self.nodes, self.roots, self.leaves, self.values, self.shift,
            np.empty(len(values), np.uint64), out,
        )  # fmt: skip
        out /= len(self.roots) - 1
        return out


def _packed(tree: Any, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nodes, for each node the row of its values, values of leaves) of a tree."""
    left, right = tree.children_left, tree.children_right
    levels, places, level, end = [], [], np.zeros(1, np.int64), 1
    while len(level):
        inner = level[left[level] >= 0]
        place = np.full(len(level), -1)  # of a node's left child; -1: it is a leaf
        place[left[level] >= 0] = end + 2 * np.arange(len(inner))
        levels.append(level)
        places.append(place)
        level = np.stack([left[inner], right[inner]], axis=1).reshape(-1)
        end += len(level)
    order, child = np.concatenate(levels), np.concatenate(places)
    if len(order) >> shift:
        raise ValueError(f"has a tree of {len(order)} nodes; the limit is {(1 << shift) - 1}")
    leaf = child < 0
    child[leaf] = np.flatnonzero(leaf)
    keys = _ordered(_below(tree.threshold[order])).astype(np.int64)
    keys[leaf] = np.iinfo(np.int32).max
    feature = np.where(leaf, 0, tree.feature[order]).astype(np.int64)
    return keys << 32 | feature << shift | child, np.cumsum(leaf) - leaf, tree.value[order[leaf], 0, :]


def _below(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each: values of float32 are above both or neither."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    rounded = np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return rounded + np.float32(0)  # 0 of -0


def _ordered(values: np.ndarray) -> np.ndarray:
    """int32 in the order of float32."""
    bits = values.view(np.int32)
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)


@njit(cache=True, nogil=True, inline="always")
def _next(nodes, root, node, keys, pixel, shift, mask):
    """The child of a node that a pixel goes to."""
    packed = nodes[root + node]
    feature = uint64((packed & 0xFFFFFFFF) >> shift)
    return uint64(packed & mask) + uint64(keys[pixel + feature] > (packed >> 32))


@njit(cache=True, nogil=True)
def _fetched(nodes, leaves, values, begin, end):
    """Reads a tree and the values of its leaves in order, into the caches; gives a number that is of no use."""
    seen = 0
    first = last = leaves[begin]
    for n in range(begin, end):
        seen ^= nodes[n]
        last = max(last, leaves[n])
    total = 0.0
    for leaf in range(first, last + uint64(1)):
        total += values[leaf, 0]
    return uint64(seen) ^ uint64(total > 0)


@njit(cache=True, nogil=True)
def add_leaves(keys, features, nodes, roots, leaves, values, shift, found, out):
    """Adds to each pixel's row of `out` the values of the leaf where it arrives, tree after tree.

    Eight pixels go down a tree together, three steps between two looks at whether all have arrived: the processor
    waits for memory once for all of them, and never guesses where one turns. Before that the tree is read in order,
    which fetches it in a fifth of the time that it takes node by node.

    Parameters
    ----------
    keys
        int32 (pixel × feature), see `_ordered`.
    found
        uint64 (pixel), to work in.
    """
    many, width, outputs = out.shape[0], uint64(features), values.shape[1]
    mask = (1 << shift) - 1
    for tree in range(roots.size - 1 if many else 0):
        root = roots[tree]
        found[0] = _fetched(nodes, leaves, values, root, roots[tree + 1])
        n = 0
        while n + 8 <= many:
            p = uint64(n) * width
            p1, p2, p3, p4 = p + width, p + uint64(2) * width, p + uint64(3) * width, p + uint64(4) * width
            p5, p6, p7 = p4 + width, p4 + uint64(2) * width, p4 + uint64(3) * width
            a = b = c = d = e = f = g = h = uint64(0)
            moved = uint64(1)
            while moved != 0:
                for _ in range(2):
                    a, b = _next(nodes, root, a, keys, p, shift, mask), _next(nodes, root, b, keys, p1, shift, mask)
                    c, d = _next(nodes, root, c, keys, p2, shift, mask), _next(nodes, root, d, keys, p3, shift, mask)
                    e, f = _next(nodes, root, e, keys, p4, shift, mask), _next(nodes, root, f, keys, p5, shift, mask)
                    g, h = _next(nodes, root, g, keys, p6, shift, mask), _next(nodes, root, h, keys, p7, shift, mask)
                a1, b1 = _next(nodes, root, a, keys, p, shift, mask), _next(nodes, root, b, keys, p1, shift, mask)
                c1, d1 = _next(nodes, root, c, keys, p2, shift, mask), _next(nodes, root, d, keys, p3, shift, mask)
                e1, f1 = _next(nodes, root, e, keys, p4, shift, mask), _next(nodes, root, f, keys, p5, shift, mask)
                g1, h1 = _next(nodes, root, g, keys, p6, shift, mask), _next(nodes, root, h, keys, p7, shift, mask)
                moved = (a ^ a1) | (b ^ b1) | (c ^ c1) | (d ^ d1) | (e ^ e1) | (f ^ f1) | (g ^ g1) | (h ^ h1)
                a, b, c, d, e, f, g, h = a1, b1, c1, d1, e1, f1, g1, h1
            found[n], found[n + 1], found[n + 2], found[n + 3] = a, b, c, d
            found[n + 4], found[n + 5], found[n + 6], found[n + 7] = e, f, g, h
            n += 8
        while n < many:
            at, before = uint64(0), uint64(1)
            while at != before:
                before, at = at, _next(nodes, root, at, keys, uint64(n) * width, shift, mask)
            found[n] = at
            n += 1
        for n in range(many):
            leaf = leaves[root + found[n]]
            for k in range(outputs):
                out[n, k] += values[leaf, k]


def warm() -> None:
    """Compiles what applies trees: one leaf, one pixel."""
    leaf = np.full(1, np.iinfo(np.int32).max, np.int64) << 32
    ends, place = np.array([0, 1], np.uint64), np.zeros(1, np.uint64)
    PackedTrees(leaf, ends, place, np.zeros((1, 1)), 31).mean(np.zeros((1, 1), np.float32))
