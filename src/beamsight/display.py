"""A frame as a picture: log scale, a perceptually uniform map, and masked pixels that cannot be taken for data."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Frame

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDES_QUALITIES = ((224, 70), (160, 50), (160, 20), (96, 20))
# The Exif tag by which a picture says what it is of, and how.
_DESCRIPTION, _SHAPE = 0x010E, "{} rows, {} columns"
# A grey that viridis does not hold.
MASKED_RGB = (205, 205, 210)
LEGEND = (
    "log scale, viridis, from the 1st to the 99.9th percentile of trusted counts above zero; "
    "trusted pixels of zero or less in the darkest colour; masked pixels light grey"
)
RANGE_PERCENT = (1.0, 99.9)
VIRIDIS = np.frombuffer(
    b64decode(
        b"RAFURAJWRQRXRQVZRgdaRghcRgpdRgteRw1gRw5hRxBjRxFkRxNlSBRnSBZoSBdpSBhqSBpsSBttSBxuSB1vSB9wSCBxSCFzSCN0SCR1SCV2SCZ3"
        b"SCh4SCl5Ryp6Ryx6Ry17Ry58Ry99RjB+RjJ+RjN/RjSARTWBRTeBRTiCRDmDRDqDRDuEQz2EQz6FQj+FQkCGQkGGQUKHQUSHQEWIQEaIP0eIP0iJ"
        b"PkmJPkqJPkyKPU2KPU6KPE+KPFCLO1GLO1KLOlOLOlSMOVWMOVaMOFiMOFmMN1qMN1uNNlyNNl2NNV6NNV+NNGCNNGGNM2KNM2ONMmSOMmWOMWaO"
        b"MWeOMWiOMGmOMGqOL2uOL2yOLm2OLm6OLm+OLXCOLXGOLHGOLHKOLHOOK3SOK3WOKnaOKneOKniOKXmOKXqOKXuOKHyOKH2OJ36OJ3+OJ4COJoGO"
        b"JoKOJoKOJYOOJYSOJYWOJIaOJIeOI4iOI4mOI4qNIouNIoyNIo2NIY6NIY+NIZCNIZGMIJKMIJKMIJOMH5SMH5WLH5aLH5eLH5iLH5mKH5qKHpuK"
        b"HpyJHp2JH56JH5+IH6CIH6GIH6GHH6KHIKOGIKSGIaWFIaaFIqeFIqiEI6mDJKqDJauCJayCJq2BJ62BKK6AKa9/KrB/LLF+LbJ9LrN8L7R8MbV7"
        b"MrZ6NLZ5Nbd5N7h4OLl3Orp2O7t1Pbx0P7xzQL1yQr5xRL9wRsBvSMFuSsFtTMJsTsNrUMRqUsVpVMVoVsZnWMdlWshkXMhjXsliYMpgY8tfZcte"
        b"Z8xcac1bbM1abs5YcM9Xc9BWddBUd9FTetFRfNJQf9NOgdNNhNRLhtVJidVIi9ZGjtZFkNdDk9dBldhAmNg+m9k8ndk7oNo5oto3pds2qNs0qtwy"
        b"rdwwsN0vst0ttd4ruN4put4ovd8mwN8lwt8jxeAhyOAgyuEfzeEd0OEc0uIb1eIa2OIZ2uMZ3eMY3+MY4uQY5eQZ5+QZ6uUa7OUb7+Uc8eUd9OYe"
        b"9uYg+OYh++cj/ecl"
    ),
    np.uint8,
).reshape(256, 3)


def levels(frame: Frame) -> tuple[float, float]:
    """The counts (low, high) at both ends of the colour map: percentiles of trusted, positive pixels; (0.1, 1) where none is."""
    trusted = frame.image[frame.mask & np.isfinite(frame.image)]
    positive = trusted[trusted > 0]
    if positive.size == 0:
        return 0.1, 1.0
    low, high = (float(v) for v in np.percentile(positive, RANGE_PERCENT))
    return low, max(high, low * 1.01)


def colours(frame: Frame) -> NDArray[np.uint8]:
    """[H W 3] sRGB of a frame."""
    low, high = levels(frame)
    trusted = frame.mask & np.isfinite(frame.image)
    # One array from counts to colours: of large frames, fresh memory takes longest.
    image = np.where(trusted, frame.image, low)
    np.clip(image, low, high, out=image)
    image /= low
    np.log(image, out=image)
    image *= 255 / np.log(high / low)
    shown = VIRIDIS[image.astype(np.uint8)]
    shown[~trusted] = MASKED_RGB
    return shown


def picture(frame: Frame, side: int | None = None) -> Image:
    """The frame as a Pillow image; with `side`, shrunk so that its longer side is at most that many pixels."""
    from PIL import Image

    image = Image.fromarray(colours(frame))
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX)
    return image


def thumbnail(frame: Frame, limit_bytes: int = 13_000) -> bytes:
    """The frame as WebP of at most `limit_bytes`, its longer side at most 224 pixels; noise packs badly and is shown smaller."""
    whole = trimmed(frame)
    image = picture(whole, _SIDES_QUALITIES[0][0])
    for side, quality in _SIDES_QUALITIES:
        if max(image.size) > side:
            image.thumbnail((side, side))
        data = webp(image, quality, whole.image.shape)
        if len(data) <= limit_bytes:
            break
    return data


def webp(image: Image, quality: int, of: tuple[int, ...] | None = None) -> bytes:
    """The bytes of a Pillow image as WebP of that quality (0 to 100); `of` says in it what shape (H, W) it is the picture of."""
    stream, more = io.BytesIO(), {}
    if of is not None:
        exif = image.getexif()
        exif[_DESCRIPTION] = _SHAPE.format(*of)
        more = {"exif": exif}
    image.save(stream, "WEBP", quality=quality, method=1, **more)
    return stream.getvalue()


def shape_of(data: bytes) -> tuple[int, int] | None:
    """The shape (H, W) of what a thumbnail is the picture of; None where it does not say."""
    from PIL import Image

    told = re.fullmatch(_SHAPE.format(r"(\d+)", r"(\d+)"), str(Image.open(io.BytesIO(data)).getexif().get(_DESCRIPTION)))
    return None if told is None else (int(told[1]), int(told[2]))


def data_url(data: bytes) -> str:
    """A WebP picture as an address that holds it."""
    return "data:image/webp;base64," + b64encode(data).decode()


def trimmed(frame: Frame) -> Frame:
    """The frame without the untrusted rows and columns that `fit` padded it with, at its lower and right ends."""
    rows, columns = np.flatnonzero(frame.mask.any(axis=1)), np.flatnonzero(frame.mask.any(axis=0))
    if rows.size == 0:
        return frame
    shape = (int(rows[-1]) + 1, int(columns[-1]) + 1)
    image, mask = frame.image[: shape[0], : shape[1]], frame.mask[: shape[0], : shape[1]]
    return replace(frame, image=image, mask=mask, geometry=replace(frame.geometry, shape=shape))
