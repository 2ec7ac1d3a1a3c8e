"""Frames of a video for structure from motion: spread evenly over it, of each stretch the sharpest."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np

from gaussmith.events import OnEvent, Step, UserError, ignore, timed
from gaussmith.io.image import MAX_PIXELS, save_image

VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts"}
FRAMES = 100  # kept at most; structure from motion of more takes long and a scene gains little
FRAME_SIDE = 1600  # pixels
LONGEST = 600.0  # seconds
_LEAST_APART = 0.15  # seconds between kept frames: closer ones show the same
_CANDIDATES = 5  # looked at for each frame that is kept
_HEAD = re.compile(rb"P6\n(\d{1,5}) (\d{1,5})\n255\n")


def take_frames(video: Path, place: Path, *, on_event: OnEvent = ignore) -> list[str]:
    """Write the sharpest frames of a video to place/frame_0000.png and so on, and return their names.

    Raises:
        UserError: not a video that ffmpeg can read, too long, or too short; the place cannot be written.
    """
    seconds = _seconds(video)
    count = int(min(FRAMES, max(1, seconds / _LEAST_APART)))
    shutil.rmtree(place, ignore_errors=True)
    names: list[str] = []
    last: np.ndarray | None = None
    with timed(on_event, "frames", count), _frames(video, count * _CANDIDATES / seconds) as frames:
        while len(names) < count and (some := list(islice(frames, _CANDIDATES))):
            best = max(some, key=_sharpness)
            if last is not None and np.array_equal(best, last):
                continue  # a film of few frames a second: ffmpeg repeats them
            last = best
            names.append(f"frame_{len(names):04d}.png")
            save_image(place / names[-1], best)
            on_event(Step("frames", len(names)))
    if len(names) < 3:
        raise UserError(f"{video} is too short ({seconds:.1f} s); film for 20 to 60 seconds while walking around")
    return names


def _command(video: Path) -> list[str]:
    """ffmpeg, reading one local file: a playlist in disguise must not lead elsewhere, nor frames fill the memory."""
    limits = ["-protocol_whitelist", "file,pipe", "-max_pixels", str(MAX_PIXELS)]
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", *limits, "-i", str(video.absolute())]


def _seconds(video: Path) -> float:
    try:
        told = subprocess.run(_command(video), capture_output=True, timeout=60).stderr.decode(errors="replace")
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        raise UserError(f"cannot read {video}: ffmpeg failed or is not there ({str(error)[:100]})") from error
    lasts = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", told)
    if lasts is None or not re.search(r"Stream #.*: Video: ", told):
        raise UserError(f"cannot read {video}: ffmpeg finds no video in it, or not how long it lasts; save it as MP4")
    seconds = 3600 * int(lasts[1]) + 60 * int(lasts[2]) + float(lasts[3])
    if not 0 < seconds <= LONGEST:
        raise UserError(f"{video} lasts {seconds:.0f} s; give one of up to {LONGEST:.0f} seconds")
    return seconds


@contextmanager
def _frames(video: Path, rate: float) -> Iterator[Iterator[np.ndarray]]:
    """Frames [H,W,3] uint8, upright, `rate` a second, reduced by area averaging to at most `FRAME_SIDE`."""
    smaller = f"scale=w='min(iw,{FRAME_SIDE})':h='min(ih,{FRAME_SIDE})'"
    filters = f"fps={rate:.6f},{smaller}:force_original_aspect_ratio=decrease:flags=area"
    output = ["-an", "-sn", "-dn", "-vf", filters, "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "-"]
    with subprocess.Popen(
        [*_command(video), *output], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            yield _parsed(process.stdout)
        finally:
            process.kill()


def _parsed(stream: IO[bytes]) -> Iterator[np.ndarray]:
    """Pictures of a stream of PPM files; a last one that is cut off is left out."""
    while head := _HEAD.fullmatch(stream.readline() + stream.readline() + stream.readline()):
        width, height = int(head[1]), int(head[2])
        data = stream.read(3 * width * height)
        if len(data) < 3 * width * height:
            return
        yield np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)


def _sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a frame thinned to at most 800 pixels a side (Pech-Pacheco et al. 2000)."""
    step = math.ceil(max(frame.shape[:2]) / 800)
    grey = frame[::step, ::step].mean(axis=-1, dtype=np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var()) if min(grey.shape) > 2 else 0.0
