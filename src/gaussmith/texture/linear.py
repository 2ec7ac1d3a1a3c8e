"""Sparse symmetric systems over texels and vertices, solved in one fixed order: the same bits on any machine load."""

from __future__ import annotations

import numba as nb
import numpy as np
from scipy.sparse import coo_array, csr_array


def relax(matrix: csr_array, right: np.ndarray, start: np.ndarray, sweeps: int, tolerance: float = 2e-4) -> np.ndarray:
    """Approach the solution of matrix x = right [N,C] for all columns by successive over-relaxation.

    The matrix is symmetric positive definite with a full diagonal, so any factor in (0, 2) converges; 1.9 carries
    values over some tens of nodes in the sweeps used here. Stops after `sweeps`, or when no unknown moved by
    `tolerance`.
    """
    x = np.ascontiguousarray(start, dtype=np.float64).copy()
    _sweep(matrix.indptr, matrix.indices, matrix.data, np.ascontiguousarray(right), x, sweeps, tolerance, 1.9)
    return x


def laplacian(links: np.ndarray, weights: np.ndarray, count: int) -> csr_array:
    """Graph Laplacian [count,count] (degree minus adjacency) of undirected links [L,2] with weights [L]."""
    (a, b), nodes = links.T, np.arange(count)
    degree = np.bincount(a, weights, count) + np.bincount(b, weights, count)
    rows, columns = np.concatenate([a, b, nodes]), np.concatenate([b, a, nodes])
    return coo_array((np.concatenate([-weights, -weights, degree]), (rows, columns)), shape=(count, count)).tocsr()


def harmonic(
    links: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
    sweeps: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Extend values [N,C] from the known nodes [N] to the others as smoothly as the graph allows: each unknown node the
    weighted mean of its neighbours.

    `start` [N,C] is a first guess for the unknown nodes, default the mean of the known values, which is what a node
    that no link joins to a known one keeps.
    """
    out = np.where(known[:, None], values, values[known].mean(axis=0) if start is None else start)
    count = int((~known).sum())
    number = np.empty(len(known), dtype=np.int64)
    number[~known] = np.arange(count)
    free = ~known[links]
    inner = free.all(axis=1)
    matrix = laplacian(number[links[inner]], weights[inner], count)
    right = np.zeros((count, values.shape[1]))
    held = np.zeros(count)
    for side in (0, 1):
        border = free[:, side] & ~free[:, 1 - side]
        node, source = number[links[border, side]], links[border, 1 - side]
        held += np.bincount(node, weights[border], count)
        for k in range(values.shape[1]):
            right[:, k] += np.bincount(node, weights[border] * out[source, k], count)
    # A hair of pull towards the guess keeps islands without any known node solvable.
    pull = 1e-7 * float(weights.max(initial=1e-12))
    matrix.setdiag(matrix.diagonal() + held + pull)
    out[~known] = relax(matrix, right + pull * out[~known], out[~known], sweeps)
    return out


@nb.njit(cache=True)
def _sweep(starts, columns, data, right, x, sweeps, tolerance, factor):
    total = np.empty(x.shape[1])
    for _ in range(sweeps):
        largest = 0.0
        for i in range(x.shape[0]):
            diagonal = 0.0
            total[:] = right[i]
            for n in range(starts[i], starts[i + 1]):
                j = columns[n]
                if j == i:
                    diagonal = data[n]
                    continue
                for k in range(x.shape[1]):
                    total[k] -= data[n] * x[j, k]
            for k in range(x.shape[1]):
                move = factor * (total[k] / diagonal - x[i, k])
                largest = max(largest, abs(move))
                x[i, k] += move
        if largest < tolerance:
            break
