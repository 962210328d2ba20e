"""Which files are pictures: told by how they begin, whatever they are called."""

from __future__ import annotations

from pathlib import PurePath

from ktl.data.reading import FORMATS, rare_formats

EXTENSIONS = frozenset(  # a file of such a name is a picture or a damaged one
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
TIFF_SUFFIXES = ("", ".tif", ".tiff")  # a camera's raw files begin as TIFF too, but hold a thumbnail first
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
BITMAP_HEADERS = (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")  # sizes that follow a BMP's own header
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}
HEAD = 32  # bytes that tell a format


def is_picture(name: str, head: bytes) -> bool:
    """Whether a file of this name that begins with the `HEAD` bytes `head` is a picture that ktl reads.

    Also if it is a damaged one, so that it is an error and not left out.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in EXTENSIONS:
        return True
    found = _format_of(head)
    if found == "TIFF":
        return suffix in TIFF_SUFFIXES
    return found in FORMATS or bool(rare_formats(name))


def _format_of(head: bytes) -> str | None:
    """Pillow's name of the format that a file begins as."""
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[14:18] in BITMAP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIF" if head[8:12] in HEIF_BRANDS else None
    return None
