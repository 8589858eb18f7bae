"""Writes the same picture in the formats that detectors and facilities write."""

# SPDX-License-Identifier: BSD-3-Clause

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import tifffile
from numpy.typing import NDArray

Array = NDArray[Any]
SHAPE = (48, 64)
WAVELENGTH_M, DISTANCE_M, PIXEL_M, CENTRE_PX = 1.2e-10, 2.5, 172e-6, (20.5, 41.25)


def picture(seed: int = 0) -> Array:
    """Counts [48 64] int32 that no flip or transposition leaves as they are."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - CENTRE_PX[0], x - CENTRE_PX[1])
    mean = 300 * np.exp(-radius / 9) + 40 * np.exp(-((radius - 17) ** 2) / 4) + 5 * (y > 40) + 9 * (x < 5)
    return np.random.default_rng(seed).poisson(mean).astype(np.int32)


def edf(path: Path, image: Array) -> Path:
    header = {"Center_1": CENTRE_PX[1] + 0.5, "Center_2": CENTRE_PX[0] + 0.5, "PSize_1": PIXEL_M, "PSize_2": PIXEL_M}
    header |= {"SampleDistance": DISTANCE_M, "WaveLength": WAVELENGTH_M}
    fabio.edfimage.EdfImage(data=image, header={k: str(v) for k, v in header.items()}).write(str(path / "a.edf"))
    return path / "a.edf"


def edf_gz(path: Path, image: Array) -> Path:
    (path / "a.edf.gz").write_bytes(gzip.compress(edf(path, image).read_bytes()))
    return path / "a.edf.gz"


def edf_stack(path: Path, images: Array) -> Path:
    file = fabio.edfimage.EdfImage(data=images[0])
    for image in images[1:]:
        file.append_frame(data=image)
    file.write(str(path / "stack.edf"))
    return path / "stack.edf"


def cbf(path: Path, image: Array) -> Path:
    lines = [
        "# Detector: PILATUS 100K",
        f"# Pixel_size {PIXEL_M * 1e6:.0f}e-6 m x {PIXEL_M * 1e6:.0f}e-6 m",
        "# Count_cutoff 1048574 counts",
        f"# Wavelength {WAVELENGTH_M * 1e10} A",
        f"# Detector_distance {DISTANCE_M} m",
        f"# Beam_xy ({CENTRE_PX[1] + 0.5}, {CENTRE_PX[0] + 0.5}) pixels",
    ]
    header = {"_array_data.header_contents": "\r\n".join(lines), "_array_data.header_convention": "PILATUS_1.2"}
    fabio.cbfimage.CbfImage(data=image.astype(np.int32), header=header).write(str(path / "a.cbf"))
    return path / "a.cbf"


def tiff(**how: Any) -> Callable[[Path, Array], Path]:
    def write(path: Path, image: Array) -> Path:
        how_ = dict(how)
        values = image.astype(how_.pop("dtype", np.int32))
        tifffile.imwrite(path / "a.tif", values, **how_)
        return path / "a.tif"

    return write


def tiff_pages(path: Path, images: Array) -> Path:
    tifffile.imwrite(path / "pages.tif", images, photometric="minisblack")
    return path / "pages.tif"


def marccd(path: Path, image: Array) -> Path:
    """A TIFF of 16 bits with a MarCCD header of 3,072 bytes after the first kilobyte, as a Rayonix detector writes it."""
    height, width = image.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 4096, 277: 1, 278: height, 279: 2 * image.size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff_head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    number = np.zeros(768, "<i4")
    number[[26, 160, 193, 227]] = 65535, DISTANCE_M * 1e6, PIXEL_M * 1e9, WAVELENGTH_M * 1e15
    number[161:163] = np.rint((np.array(CENTRE_PX[::-1]) + 0.5) * 1e3)
    own = b"\2\0\0\0MMX\0" + number.tobytes()[8:]
    (path / "a.mccd").write_bytes(tiff_head.ljust(1024, b"\0") + own + image.astype("<u2").tobytes())
    return path / "a.mccd"


def mar345(path: Path, image: Array) -> Path:
    """An image plate's square scan; its format knows only certain sides."""
    square = np.zeros((1200, 1200), np.uint32)
    square[: image.shape[0], : image.shape[1]] = image
    file = fabio.mar345image.Mar345Image(data=square)
    file.byteorder = fabio.fabioutils.ENDIANNESS.LITTLE  # fabio's own default is one that its writer refuses
    file.write(str(path / "a.mar1200"))
    return path / "a.mar1200"


def png(path: Path, image: Array) -> Path:
    from PIL import Image

    Image.fromarray(image.astype(np.uint16)).save(path / "a.png")
    return path / "a.png"


def npy(path: Path, image: Array) -> Path:
    np.save(path / "a.npy", image)
    return path / "a.npy"


def plain_h5(**how: Any) -> Callable[[Path, Array], Path]:
    def write(path: Path, image: Array) -> Path:
        with h5py.File(path / "a.h5", "w") as file:
            file.create_dataset("measurement/images", data=image, **how)
            file["measurement/time"] = np.arange(len(image))
        return path / "a.h5"

    return write


def nxdata(path: Path, image: Array) -> Path:
    with h5py.File(path / "a.nxs", "w") as file:
        group = file.create_group("run/result/picture")
        file.attrs["default"], file["run"].attrs["default"], file["run/result"].attrs["default"] = "run", "result", "picture"
        group.attrs["NX_class"], group.attrs["signal"] = "NXdata", "intensity"
        group["intensity"] = image
        file["run/larger"] = np.zeros((99, 99))
    return path / "a.nxs"


def eiger(path: Path, images: Array, per_file: int = 2, mask: Array | None = None, dtype: str = "u4") -> Path:
    """A master file beside files of `per_file` images in bitshuffle-LZ4, as the DECTRIS file writer makes them."""
    master = path / "series_master.h5"
    with h5py.File(master, "w") as file:
        file.create_group("entry/data").attrs["NX_class"] = "NXdata"
        for n, start in enumerate(range(0, len(images), per_file), 1):
            name = f"series_data_{n:06d}.h5"
            part = images[start : start + per_file].astype(dtype)
            with h5py.File(path / name, "w") as data:
                data.create_dataset(
                    "entry/data/data", data=part, chunks=(1, *part.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
                )
            file[f"entry/data/data_{n:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        instrument(file, mask)
    return master


def instrument(file: h5py.File, mask: Array | None = None) -> None:
    """The groups of NXmx that tell the geometry, each with another unit than ours."""
    detector = file.create_group("entry/instrument/detector")
    detector.attrs["NX_class"] = "NXdetector"
    for name, value, unit in (
        ("beam_center_x", CENTRE_PX[1] + 0.5, "pixel"),
        ("beam_center_y", CENTRE_PX[0] + 0.5, "pixel"),
        ("x_pixel_size", PIXEL_M * 1e3, "mm"),
        ("y_pixel_size", PIXEL_M * 1e3, "mm"),
        ("detector_distance", DISTANCE_M * 1e2, "cm"),
    ):
        detector[name] = value
        detector[name].attrs["units"] = unit
    file["entry/instrument/beam/incident_wavelength"] = WAVELENGTH_M * 1e10
    file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
    if mask is not None:
        file["entry/instrument/detector/detectorSpecific/pixel_mask"] = mask


def nxmx(path: Path, images: Array, mask: Array | None = None, saturation: int | None = None) -> Path:
    with h5py.File(path / "mx.nxs", "w") as file:
        file.create_group("entry/data").attrs["signal"] = "data"
        file["entry/data/data"] = images
        instrument(file, mask)
        if saturation is not None:
            file["entry/instrument/detector/saturation_value"] = saturation
    return path / "mx.nxs"


def cxi(path: Path, images: Array, mask: Array | None = None, version: int = 150) -> Path:
    with h5py.File(path / "a.cxi", "w") as file:
        file["cxi_version"] = version
        file["entry_1/data_1/data"] = images
        file["entry_1/instrument_1/detector_1/distance"] = DISTANCE_M
        file["entry_1/instrument_1/detector_1/x_pixel_size"] = PIXEL_M
        file["entry_1/instrument_1/source_1/energy"] = 1.602176634e-19 * 1.23984198e-6 / WAVELENGTH_M
        if mask is not None:
            file["entry_1/data_1/mask"] = mask
    return path / "a.cxi"


def q_grid() -> tuple[Array, Array]:
    """Qx and Qy [48 64] in 1/angstrom, of small angles about the centre."""
    y, x = np.indices(SHAPE)
    step = 2 * np.pi * PIXEL_M / WAVELENGTH_M / DISTANCE_M * 1e-10
    return (x - CENTRE_PX[1]) * step, (y - CENTRE_PX[0]) * step


def nxcansas(path: Path, image: Array, mask: Array | None = None) -> Path:
    with h5py.File(path / "sas.h5", "w") as file:
        group = file.create_group("sasentry01/sasdata01")
        file["sasentry01"].attrs["canSAS_class"], group.attrs["canSAS_class"] = "SASentry", "SASdata"
        group.attrs["signal"] = "I"
        group["I"] = image.astype(np.float64)
        group["Qx"], group["Qy"] = q_grid()
        group["Qx"].attrs["units"] = group["Qy"].attrs["units"] = "1/A"
        file["sasentry01/sasinstrument/sasdetector/SDD"] = DISTANCE_M * 1e3
        file["sasentry01/sasinstrument/sasdetector/SDD"].attrs["units"] = "mm"
        file["sasentry01/sasinstrument/sassource/incident_wavelength"] = WAVELENGTH_M * 1e10
        file["sasentry01/sasinstrument/sassource/incident_wavelength"].attrs["units"] = "A"
        if mask is not None:
            group.attrs["mask"] = "Mask"
            group["Mask"] = mask
    return path / "sas.h5"


def nist(path: Path, image: Array) -> Path:
    qx, qy = q_grid()
    head = "Data columns Qx - Qy - I(Qx,Qy) - err(I)\r\nASCII data\r\n\r\n"
    rows = (f"{a:.7g}\t{b:.7g}\t{c:.7g}\t1\r\n" for a, b, c in zip(qx.flat, qy.flat, image.flat, strict=True))
    (path / "a.dat").write_text(head + "".join(rows))
    return path / "a.dat"


def sans(path: Path, image: Array) -> Path:
    fields = {
        "WAVELENGTH": WAVELENGTH_M * 1e10,
        "DISTANCE": DISTANCE_M,
        "CENTER_X": CENTRE_PX[1] + 1,
        "CENTER_Y": CENTRE_PX[0] + 1,
    }
    fields |= {"PIXELSIZE": PIXEL_M * 1e3, "SIZE_X": image.shape[1], "SIZE_Y": image.shape[0]}
    head = "FORMATVERSION:2\n" + "".join(f"{k}:{v}\n" for k, v in fields.items()) + "DATA:\n"
    (path / "a.sans").write_text(head + "".join(f"{v}  1.0\n" for v in image.flat))
    return path / "a.sans"


# One image [H W] each.
SINGLE: dict[str, Callable[[Path, Array], Path]] = {
    "edf": edf,
    "edf.gz": edf_gz,
    "cbf": cbf,
    "tiff": tiff(),
    "tiff big-endian": tiff(byteorder=">"),
    "tiff deflate": tiff(compression="zlib"),
    "tiff lzw": tiff(compression="lzw", dtype=np.uint16),
    "tiff float": tiff(dtype=np.float32, compression="zlib", predictor=True),
    "tiff tiled": tiff(tile=(16, 16), compression="zlib"),
    "bigtiff": tiff(bigtiff=True),
    "marccd": marccd,
    "png": png,
    "npy": npy,
    "hdf5": plain_h5(),
    "hdf5 bitshuffle": plain_h5(chunks=SHAPE, **hdf5plugin.Bitshuffle(cname="lz4")),
    "hdf5 gzip": plain_h5(chunks=(16, 16), compression="gzip", shuffle=True),
    "hdf5 big-endian": lambda path, image: plain_h5()(path, image.astype(">i4")),
    "nxdata": nxdata,
    "nxcansas": nxcansas,
    "nist": nist,
    "sans": sans,
}

# Several images [N H W] each.
STACKS: dict[str, Callable[[Path, Array], Path]] = {
    "edf": edf_stack,
    "tiff": tiff_pages,
    "npy": npy,
    "hdf5": plain_h5(),
    "hdf5, three frames a chunk": plain_h5(chunks=(3, 16, 64), compression="gzip"),
    "eiger": eiger,
    "nxmx": nxmx,
    "cxi": cxi,
    "4-D with one channel": lambda path, images: plain_h5()(path, images[:, None]),
}

# Those that tell the whole geometry.
PLACED = {"edf": edf, "cbf": cbf, "marccd": marccd, "nxcansas": nxcansas, "sans": sans}
PLACED |= {"eiger": lambda path, image: eiger(path, image[None]), "nxmx": lambda path, image: nxmx(path, image[None])}
