"""Tunnels and pits that are none of the object's, closed: the closing by a disc that may be turned any way.

Where a picture's colours meet, Gaussians may leave slits and holes that go through to hollows behind, and the surface
has a tunnel that no one modelled. A morphological closing by a ball (Serra 1982) fills them, but every concave edge
and groove as well. Here a place stays open if the ball gets there, or a flat disc that is wider, in some orientation:
it lies along a groove, between slats or in a corner, but not in a hole that is narrow one way and short the other.
What lies behind a filled mouth is filled with it.

Axes: arrays are [x,y,z]; inside and outside are as in `marching`: the body is connected through corners, the outside
through faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from gaussmith.surface.marching import solid

Bool = NDArray[np.bool_]
I64 = NDArray[np.int64]

RADIUS = 2  # nodes: of the ball; what is closed is at most twice as wide
REACH = 5  # nodes: of the disc; and at most twice as long
AROUND = np.ones((3, 3, 3))


def closed(body: Bool, seen: Callable[[I64], Bool], radius: int = RADIUS, reach: int = REACH) -> Bool:
    """The body [X,Y,Z] with its narrow tunnels and its narrow pits of two nodes' depth or more filled.

    seen: of nodes [M,3] whether some picture sees the background there; a filling that would cover one is left out as
    a whole. So are fillings that would make a handle or join parts. Nothing else changes.
    """
    margin = 2 * reach + 1
    body = np.pad(body, margin)
    near = ndimage.distance_transform_edt(~body) <= radius
    places = np.argwhere((ndimage.distance_transform_edt(near) > radius) & ~body)  # what the ball would fill
    discs = _discs(reach)
    narrow = places[~_open(body, places, np.concatenate(discs), np.cumsum([0] + [len(disc) for disc in discs]))]
    filled = body.copy()
    filled[tuple(narrow.T)] = True
    filled = solid(filled)
    label, _ = ndimage.label(filled & ~body, AROUND)
    deep = ndimage.binary_erosion(filled, AROUND)
    out = body.copy()
    for number, box in enumerate(ndimage.find_objects(label), start=1):
        part = label[box] == number
        gain = _euler_gain(body, label, number, box)
        if gain > 0 or (gain == 0 and (part & deep[box]).any()):
            nodes = np.argwhere(part) + [side.start for side in box]
            if not seen(nodes - margin).any():
                out[tuple(nodes.T)] = True
    return out[(slice(margin, -margin),) * 3]


def _euler_gain(body: Bool, label: NDArray[np.int32], number: int, box: tuple[slice, ...]) -> int:
    """By how much that part, added to the body, raises its Euler number: 1 for each tunnel closed.

    Voids there are none; a handle made or two parts joined lower it by 1.
    """
    around = tuple(slice(side.start - 2, side.stop + 2) for side in box)  # what is further off has no say
    before = np.pad(body[around], 1)
    return int(euler_number(before | np.pad(label[around] == number, 1), 3) - euler_number(before, 3))


def _discs(radius: int) -> list[I64]:
    """Nodes [N,3] of discs around the origin, one node thick, across 49 directions: none is over 18 degrees off one."""
    ball = np.argwhere(np.ones((2 * radius + 1,) * 3)) - radius
    ball = ball[(ball**2).sum(axis=1) <= radius**2]
    normals = [np.array(n) - 2 for n in np.ndindex(5, 5, 5) if n > (2, 2, 2)]
    return [ball[2 * np.abs(ball @ n) <= np.linalg.norm(n)] for n in normals if np.gcd.reduce(n) == 1]


@nb.njit(cache=True)
def _open(body, places, offsets, starts):
    """[M] whether some disc that misses the body covers each of places [M,3], a disc's width from the border."""
    out = np.zeros(len(places), np.bool_)
    for p in range(len(places)):
        for disc in range(len(starts) - 1):
            first, last = starts[disc], starts[disc + 1]
            for c in range(first, last):
                if not out[p]:
                    free = True
                    for o in range(first, last):
                        x = places[p, 0] + offsets[c, 0] + offsets[o, 0]
                        y = places[p, 1] + offsets[c, 1] + offsets[o, 1]
                        z = places[p, 2] + offsets[c, 2] + offsets[o, 2]
                        if body[x, y, z]:
                            free = False
                            break
                    out[p] = free
    return out
