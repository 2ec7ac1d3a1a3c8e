"""Frames of a video for structure from motion: spread evenly over it, of each stretch the sharpest."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator
from itertools import islice
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from gaussmith.events import OnEvent, Step, UserError, ignore
from gaussmith.io.image import save_image
from gaussmith.photos.stage import timed

VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts"}
FRAMES = 100  # kept at most; structure from motion of more takes long and a scene gains little
FRAME_SIDE = 1600  # pixels
LONGEST = 600.0  # seconds
_LEAST_APART = 0.15  # seconds between kept frames: closer ones show the same
_CANDIDATES = 5  # looked at for each frame that is kept


def take_frames(video: Path, place: Path, *, on_event: OnEvent = ignore) -> list[str]:
    """Write the sharpest frames of a video to place/frame_0000.png and so on, and return their names.

    Raises:
        UserError: not a video that ffmpeg can read, too long, or too short; the place cannot be written.
    """
    seconds, (width, height) = _probe(video)
    count = int(min(FRAMES, max(1, seconds / _LEAST_APART)))
    shutil.rmtree(place, ignore_errors=True)
    names: list[str] = []
    with timed("frames", count, on_event):
        candidates = _frames(video, count * _CANDIDATES / seconds, _reduced(width, height))
        while len(names) < FRAMES and (some := list(islice(candidates, _CANDIDATES))):
            names.append(f"frame_{len(names):04d}.png")
            save_image(place / names[-1], max(some, key=_sharpness))
            on_event(Step("frames", len(names)))
        candidates.close()
    if len(names) < 3:
        raise UserError(f"{video} is too short ({seconds:.1f} s); film for 20 to 60 seconds while walking around")
    return names


def _probe(video: Path) -> tuple[float, tuple[int, int]]:
    """Seconds and (width, height) as shown."""
    try:
        reader = imageio_ffmpeg.read_frames(str(video.absolute()), input_params=["-protocol_whitelist", "file"])
        meta = next(reader)
        reader.close()
        seconds, (width, height) = float(meta["duration"]), meta["size"]
    except (OSError, RuntimeError, StopIteration, KeyError, ValueError, IndexError) as error:
        raise UserError(f"cannot read {video}: ffmpeg finds no video in it") from error
    if not (0 < seconds <= LONGEST):
        raise UserError(f"{video} lasts {seconds:.0f} s; give one of up to {LONGEST:.0f} seconds")
    if not (min(width, height) >= 16 and max(width, height) <= 16384):
        raise UserError(f"{video} has frames of {width}x{height} pixels; give one of 16 to 16384 a side")
    return seconds, (width, height)


def _frames(video: Path, rate: float, size: tuple[int, int]) -> Generator[np.ndarray, None, None]:
    """[H,W,3] uint8 at `rate` a second, reduced to `size` by area averaging."""
    width, height = size
    reader = imageio_ffmpeg.read_frames(
        str(video.absolute()),
        input_params=["-protocol_whitelist", "file"],
        output_params=["-vf", f"fps={rate:.6f},scale={width}:{height}:flags=area", "-an", "-sn", "-dn"],
        pix_fmt="rgb24",
    )
    try:
        meta = next(reader)
        width, height = meta["size"]
        for data in reader:
            yield np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot read {video}: it is damaged ({str(error).strip()[:100]})") from error
    finally:
        reader.close()


def _reduced(width: int, height: int) -> tuple[int, int]:
    factor = max(1.0, max(width, height) / FRAME_SIDE)
    return max(2, round(width / factor)), max(2, round(height / factor))


def _sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a frame of at most some 800 pixels a side (Pech-Pacheco et al. 2000)."""
    step = math.ceil(max(frame.shape[:2]) / 800)
    grey = frame[::step, ::step].mean(axis=-1, dtype=np.float32)
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var())
