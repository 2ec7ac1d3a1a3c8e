"""Filling: every texel gets a colour, known ones stay, unknown ones continue their surroundings on the surface."""

from __future__ import annotations

import numpy as np
import torch

from gaussmith.texture.inpaint import fill, surface_links
from gaussmith.texture.seams import seam_error


def hidden_cap(blob, height: float = 0.35) -> torch.Tensor:
    """[S,S] bool validity of a texture whose texels above a height were seen by no view."""
    return torch.from_numpy(blob.atlas.image((blob.points()[:, 1] < height).numpy(), outside=False))


def test_known_texels_stay_and_none_is_left_empty(blob):
    valid = hidden_cap(blob)
    poison = torch.full((256, 256, 3), float("nan"))
    albedo = torch.where(valid[..., None], blob.albedo(), poison)
    out = fill(albedo, valid, blob.mesh, blob.atlas)
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    assert torch.equal(out[valid], albedo[valid])
    assert out.amin() > 0.05  # the true colours lie in [0.1, 0.9]: nothing black anywhere, gutter included


def test_a_constant_is_continued_exactly_even_from_a_few_texels(blob):
    valid = torch.zeros(256, 256, dtype=torch.bool)
    valid.view(-1)[torch.from_numpy(blob.atlas.texels[:40])] = True
    colour = torch.tensor([0.2, 0.6, 0.4])
    out = fill(torch.where(valid[..., None], colour, torch.zeros(3)), valid, blob.mesh)
    assert torch.allclose(out, colour.expand_as(out), atol=2e-3)


def test_a_linear_colour_is_continued_across_charts(blob):
    """Height as colour over a belt that was hidden: the fill is harmonic, so it interpolates and never overshoots."""
    height = blob.points()[:, 1:2]
    colour = torch.cat([0.5 + height, 0.5 - height, 0.5 + 0 * height], dim=1)
    albedo = torch.from_numpy(blob.atlas.image(colour.numpy()))
    belt = height[:, 0].abs() < 0.12
    valid = torch.from_numpy(blob.atlas.image((~belt).numpy(), outside=False))
    out = fill(albedo * valid[..., None], valid, blob.mesh, blob.atlas)
    filled = out.reshape(-1, 3)[blob.atlas.texels][belt]
    assert (filled - colour[belt]).abs().mean() < 0.025
    assert filled[:, 0].min() > 0.5 - 0.14 and filled[:, 0].max() < 0.5 + 0.14


def test_what_was_filled_has_no_seams(blob):
    valid = hidden_cap(blob, 0.1)
    out = fill(blob.albedo() * valid[..., None], valid, blob.mesh, blob.atlas)
    assert seam_error(out, blob.mesh).p95 < 4


def test_a_part_that_nobody_saw_takes_the_mean_colour(blob):
    """A second, unseen copy of the object: no path on the surface leads to a known colour."""
    from gaussmith.mesh import Mesh
    from gaussmith.texture.atlas import atlas_fragments
    from gaussmith.texture.unwrap import unwrap

    first, second = blob.mesh.vertices * 0.4 - 0.4, blob.mesh.vertices * 0.4 + 0.4
    faces = torch.cat([blob.mesh.faces, blob.mesh.faces + len(first)])
    pair = unwrap(Mesh(torch.cat([first, second]), faces), 256)
    atlas = atlas_fragments(pair, 256)
    seen = torch.from_numpy(atlas.image(atlas.face < len(blob.mesh.faces), outside=False))
    albedo = torch.tensor([0.9, 0.1, 0.3]) * seen[..., None]
    out = fill(albedo, seen, pair, atlas)
    assert torch.allclose(out, torch.tensor([0.9, 0.1, 0.3]).expand_as(out), atol=1e-3)


def test_mipmaps_show_no_gap(blob):
    """Averaging 8 x 8 blocks of the whole texture never leaves the range of colours that the surface has."""
    out = fill(blob.albedo(), torch.ones(256, 256), blob.mesh, blob.atlas)
    colours = blob.colour(blob.points())
    mip = torch.nn.functional.avg_pool2d(out.permute(2, 0, 1)[None], 8)[0].flatten(1)
    assert (mip.amin(dim=1) >= colours.amin(dim=0) - 1e-4).all() and (
        mip.amax(dim=1) <= colours.amax(dim=0) + 1e-4
    ).all()


def test_nothing_seen_is_grey(blob):
    out = fill(torch.zeros(256, 256, 3), torch.zeros(256, 256), blob.mesh, blob.atlas)
    assert (out == 0.5).all()


def test_neighbouring_texels_are_neighbours_in_the_world(blob):
    links = surface_links(blob.mesh, blob.atlas)
    points = blob.points().numpy()
    apart = np.linalg.norm(points[links[:, 0]] - points[links[:, 1]], axis=1)
    texel = np.median(apart)
    assert np.percentile(apart, 99) < 3 * texel and apart.max() < 12 * texel
    assert links.min() >= 0 and (links[:, 0] != links[:, 1]).all()
    joined = np.zeros(len(points), dtype=bool)
    joined[links.ravel()] = True
    assert joined[blob.atlas.inside].mean() > 0.999
