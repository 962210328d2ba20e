"""What a file of the wrong kind is, told by how it begins. Only needs Python: a script of a bundle has this text."""

from __future__ import annotations

BEGINNING = 4096  # bytes that tell a kind

ZIP = "a zip archive"
_WEB_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml version")
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
_SIGNATURES = (
    (b"version https://git-lfs", "a Git-LFS pointer in place of the file: `git lfs pull` fetches it"),
    (_LEGACY_TORCH, "a PyTorch checkpoint"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes"),
    (b"\x93NUMPY", "a numpy .npy array"),
)


def kind_of_file(beginning: bytes) -> str | None:
    """What a file that begins with these bytes (4,096 of them, or all) is, as in "it is ..."; None if nothing is known.

    Of right kinds too: whoever asks could not read the file.
    """
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not beginning.strip(b"\0"):
        return "a file of zeros, as of an unfinished download" if beginning else "an empty file"
    if text.startswith(_WEB_PAGES):
        return "a web page: the download went to a page in place of the file"
    if text.startswith((b'{"', b"{\n", b"{\r\n")):
        return "a JSON text, as a server's refusal"
    for signature, kind in _SIGNATURES:
        if beginning.startswith(signature):
            return kind
    if beginning.startswith(b"PK\x03\x04"):
        return "a PyTorch checkpoint" if b"/data.pkl" in beginning[:512] else ZIP
    if beginning[:1] == b"\x80" and b"dnnlib.tflib" in beginning:
        return "a TensorFlow pickle of the first StyleGANs: use a PyTorch release of the network"
    if beginning[4:8] == b"ftyp":
        heif = beginning[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
        return "a HEIC photograph: `pip install pillow-heif`, or convert it to JPEG" if heif else "a film"
    return None
