"""Image files: NumPy, TIFF, and what fabio and Pillow read. Each opener gives stacks whose pixels are not read yet."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Geometry
from beamsight.geometry_files import cutoff, from_dectris, from_edf, from_marccd, length_m
from beamsight.stack import FRAME_LIMIT_BYTES, Keys, Stack, check_layout

CBF_START = b"\x0c\x1a\x04\xd5"


def open_npy(path: str) -> list[Stack]:
    """A .npy file [H W] or [N H W], memory-mapped."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error).lower():
            raise CannotRead(
                f"{path}: holds pickled Python objects, which are never loaded; save it as an array of numbers"
            ) from None
        raise
    return [array_stack(path, array, path)]


def array_stack(path: str, array: NDArray[Any], name: str) -> Stack:
    """An array [H W] or [N H W] in memory; keys are `name`, with `?slice=n` in a stack."""
    check_layout(path, array.shape, array.dtype)
    if array.ndim > 3:
        raise BadFrame(f"{path}: {array.ndim}-D data of shape {array.shape}; a frame is 2-D, a stack of them 3-D")
    shape = (array.shape[-2], array.shape[-1])
    if array.ndim == 2:
        return Stack(Keys(name), shape, lambda n: array, Geometry(shape))
    return Stack(Keys(f"{name}?slice=", ((0, array.shape[0], 1),)), shape, lambda n: array[n], Geometry(shape))


def open_tiff(path: str) -> list[Stack]:
    """A TIFF file, each page a frame; pages of equal shape in a row are one stack."""
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        return _tiff_stacks(path, file)
    except BaseException:
        file.close()
        raise


def _tiff_stacks(path: str, file: Any) -> list[Stack]:
    size = file.filehandle.size
    runs: list[list[Any]] = []
    for number, page in enumerate(file.pages):
        if not runs or (page.shape, page.dtype) != (runs[-1][0].shape, runs[-1][0].dtype):
            runs.append([])
        runs[-1].append(page)
        _check_page(f"{path}, page {number + 1}", page, size)
    _check_chain(path, file)
    starts = [0, *accumulate(map(len, runs))]
    single = starts[-1] == 1
    return [_tiff_stack(path, file, pages, None if single else start) for pages, start in zip(runs, starts, strict=False)]


def _check_chain(path: str, file: Any) -> None:
    """Each page says where the next one is, the last one 0; tifffile stops in silence where the next one is not there."""
    place = file.pages.next_page_offset
    if place is not None:
        file.filehandle.seek(place)
        if any(file.filehandle.read(file.tiff.offsetsize)):
            raise CannotRead(f"{path}: truncated: page {len(file.pages) + 1} is declared but not there")


def _check_page(name: str, page: Any, size: int) -> None:
    if page.dtype is None:
        raise BadFrame(f"{name}: a TIFF of {page.bitspersample} bits a value, which are not numbers that can be read")
    if page.samplesperpixel > 1 or page.photometric in (2, 3):
        raise BadFrame(
            f"{name}: a colour picture ({page.samplesperpixel} values a pixel); a frame has one value a pixel, in counts"
        )
    check_layout(name, page.shape, page.dtype)
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) > size or 0 in page.databytecounts:
        raise CannotRead(f"{name}: truncated: {max(ends, default=0)} bytes are declared, the file has {size}")


def _tiff_stack(path: str, file: Any, pages: list[Any], start: int | None) -> Stack:
    shape = (int(pages[0].shape[0]), int(pages[0].shape[1]))
    text = str(pages[0].description or "")
    keys = Keys(path) if start is None else Keys(f"{path}?slice=", ((start, start + len(pages), 1),))
    geometry, top = from_marccd(_head(path), shape) or (from_dectris(text, shape), cutoff(text))
    return Stack(keys, shape, lambda n: _tiff_page(file, pages[n]), geometry, top=top, close=file.close)


def _tiff_page(file: Any, page: Any) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    # Pillow knows the compressions that tifffile leaves to a large optional package.
    from PIL import Image

    with Image.open(file.filehandle.path) as image:
        image.seek(page.index)
        array = np.asarray(image)
    if array.dtype.itemsize != page.dtype.itemsize:
        raise CannotRead(f"a TIFF compressed by {page.compression.name}; pip install imagecodecs reads it")
    return array.view(page.dtype) if array.dtype.kind != page.dtype.kind else array


def open_picture(path: str) -> list[Stack]:
    """A grey PNG, JPEG, BMP or GIF picture."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("L", "I", "F", "I;16", "I;16B", "I;16L"):
            raise BadFrame(f"{path}: a colour picture ({image.mode}); a frame has one value a pixel, in counts")
        if 8 * image.width * image.height > FRAME_LIMIT_BYTES:
            raise CannotRead(f"{path}: a picture of {image.width} x {image.height} pixels; too large to be read")
        array = np.asarray(image)
    return [array_stack(path, array, path)]


def open_fabio(path: str, data: bytes | None = None) -> list[Stack]:
    """What fabio reads (EDF, CBF, MarCCD, SMV, ...); `data` are the unpacked bytes of a compressed file."""
    head = data[: 2**20] if data is not None else _head(path)
    if head.lstrip().startswith(b"###CBF") or CBF_START in head[: 2**16]:
        return [_cbf_stack(path, data if data is not None else _bytes(path))]
    import fabio

    # Unpacked by us, within our limit; the name without .gz or .bz2 tells fabio the kind.
    image = fabio.open(path if data is None else fabio.fabioutils.BytesIO(data, fname=path.rsplit(".", 1)[0], mode="r"))
    try:
        return [_fabio_stack(path, image)]
    except BaseException:
        image.close()
        raise


def _fabio_stack(path: str, image: Any) -> Stack:
    if getattr(image, "incomplete_file", False):
        raise CannotRead(f"{path}: truncated: the header declares more bytes than the file has")
    check_layout(path, tuple(int(n) for n in image.shape), np.dtype(image.dtype))
    shape, count = (int(image.shape[-2]), int(image.shape[-1])), int(image.nframes)
    keys = Keys(path) if count == 1 else Keys(f"{path}?slice=", ((0, count, 1),))
    geometry = _header_geometry(image, shape)
    return Stack(keys, shape, lambda n: _fabio_frame(image, n, count), geometry, close=image.close)


def _fabio_frame(image: Any, n: int, count: int) -> NDArray[Any]:
    frame = image if count == 1 else image.getframe(n)
    blob, size = getattr(frame, "blobsize", None), getattr(frame, "size", None)
    if getattr(frame, "incomplete_data", False) or (
        blob and size and blob < size and not getattr(frame, "_data_compression", None)
    ):
        raise CannotRead("truncated: the header declares more bytes than the file has")
    data = np.asarray(frame.data)
    check_layout("image", data.shape, data.dtype)
    return data


def _header_geometry(image: Any, shape: tuple[int, int]) -> Geometry:
    header = {str(k): str(v) for k, v in dict(image.header or {}).items()}
    if "PIXEL_SIZE" in header and "DISTANCE" in header:  # SMV: millimetres; its beam centre has no agreed origin
        values = [_first_number(header.get(n, "")) for n in ("PIXEL_SIZE", "WAVELENGTH", "DISTANCE")]
        pixel_m, wavelength_m, distance_m = (length_m(v, "", f) for v, f in zip(values, (1e-3, 1e-10, 1e-3), strict=True))
        return Geometry(shape, pixel_m, wavelength_m, distance_m)
    return from_edf(header, shape)


def _first_number(text: str) -> float:
    match = re.match(r"\s*([-+\d.eE]+)", text)
    try:
        return float(match[1]) if match else float("nan")
    except ValueError:
        return float("nan")


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(2**16)


def _bytes(path: str) -> bytes:
    if Path(path).stat().st_size > FRAME_LIMIT_BYTES:
        raise CannotRead(f"{path}: more than {FRAME_LIMIT_BYTES / 2**30:.0f} GiB in one image")
    return Path(path).read_bytes()


def _cbf_stack(path: str, data: bytes) -> Stack:
    """A CBF image. We read its two headers ourselves: fabio's reader does not end on some damaged ones."""
    start = data.find(CBF_START)
    if start < 0:
        raise CannotRead(f"{path}: a CBF file without its binary part; truncated?")
    text = data[:start].decode("latin-1")
    field = dict(re.findall(r"^\s*(X-Binary-[\w-]+|Content-MD5)\s*:\s*(.*?)\s*$", text, re.M))
    if "x-CBF_BYTE_OFFSET" not in text:
        raise CannotRead(f"{path}: a CBF file whose compression is not byte-offset, which is the one that is read")
    shape = (_whole(path, field, "Second-Dimension"), _whole(path, field, "Fastest-Dimension"))
    dtype = np.dtype(_CBF_TYPES.get(field.get("X-Binary-Element-Type", "").strip('"'), "int32"))
    check_layout(path, shape, dtype)
    size = int(field.get("X-Binary-Size", -1))
    packed = data[start + len(CBF_START) : start + len(CBF_START) + max(size, 0)]
    if len(packed) != size:
        raise CannotRead(f"{path}: truncated: {size} bytes are declared, {len(packed)} are there")
    return Stack(
        Keys(path), shape, lambda n: _unpack_cbf(path, packed, field, shape, dtype), from_dectris(text, shape), top=cutoff(text)
    )


_CBF_TYPES = {
    f"{sign} {bits}-bit integer": f"{'u' if sign == 'unsigned' else ''}int{bits}"
    for sign in ("signed", "unsigned")
    for bits in (8, 16, 32, 64)
}


def _whole(path: str, field: dict[str, str], name: str) -> int:
    text = field.get(f"X-Binary-Size-{name}", "")
    if not text.isdigit() or len(text) > 9:
        raise CannotRead(f"{path}: a CBF file that gives no size of its image ({name}: {text!r})")
    return int(text)


def _unpack_cbf(path: str, packed: bytes, field: dict[str, str], shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    from fabio.compression import decByteOffset, md5sum

    expected = field.get("Content-MD5")
    if expected and md5sum(packed).decode() != expected:
        raise CannotRead(f"{path}: damaged: the checksum in its header does not match")
    values = decByteOffset(packed, size=shape[0] * shape[1], dtype=dtype)
    if len(values) != shape[0] * shape[1]:
        raise CannotRead(f"{path}: damaged: {len(values)} values for {shape[0]} x {shape[1]} pixels")
    return np.asarray(values, dtype).reshape(shape)
