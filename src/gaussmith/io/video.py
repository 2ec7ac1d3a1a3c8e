"""H.264 video in MP4, through the ffmpeg that comes with imageio-ffmpeg."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from numpy.typing import ArrayLike

from gaussmith.events import UserError
from gaussmith.io.atomic import atomic_path
from gaussmith.io.image import to_uint8

# One thread and no version stamps: equal frames give equal bytes. Colours are tagged as what they are converted to.
_OPTIONS = [
    "-threads", "1", "-preset", "medium", "-crf", "18", "-vf", "scale=out_color_matrix=bt709:out_range=tv",
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "iec61966-2-1", "-color_range", "tv",
    "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4",
]  # fmt: skip


def save_video(path: str | Path, frames: Iterable[ArrayLike | torch.Tensor], fps: float = 30) -> int:
    """Write frames [H,W,3] (uint8, or float in [0,1]) as an MP4 that plays everywhere (yuv420p), atomically.

    Frames are taken one at a time. Odd sizes, which yuv420p cannot hold, repeat their last row or column.

    Returns:
        The number of frames.

    Raises:
        UserError: the place cannot be written, or ffmpeg is missing or fails.
        ValueError: no frames, or frames of unequal size.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    frame = _even(first)
    count = 0
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (frame.shape[1], frame.shape[0]), fps=fps, codec="libx264", pix_fmt_out="yuv420p",
            macro_block_size=1, output_params=_OPTIONS, ffmpeg_log_level="error",
        )  # fmt: skip
        try:
            writer.send(None)
            while True:
                writer.send(frame.tobytes())
                count += 1
                following = next(iterator, None)
                if following is None:
                    break
                size, frame = frame.shape, _even(following)
                if frame.shape != size:
                    raise ValueError(f"frame {count} has another size than the first, {frame.shape} instead of {size}")
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"cannot write {path}: ffmpeg failed or is not there ({str(error).strip()[:200]})"
            ) from error
        finally:
            writer.close()
        if not temporary.exists() or temporary.stat().st_size == 0:
            raise UserError(f"cannot write {path}: ffmpeg wrote nothing; name another place or make room there")
    return count


def _even(frame: ArrayLike | torch.Tensor) -> np.ndarray:
    pixels = to_uint8(frame)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a frame must be [H,W,3], got {pixels.shape}")
    return np.ascontiguousarray(
        np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
    )
