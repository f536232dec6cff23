"""Reads the size of a compressed image from its first markers, so that nothing larger than declared is decoded."""

SOI, SOC = b"\xff\xd8", b"\xff\x4f"  # how JPEG and JPEG-LS, and JPEG 2000, begin (ITU-T T.81, T.87; T.800)
SIZ = b"\xff\x51"
END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
JP2_SIGNATURE = b"jP  "  # the type of the first box of a JP2 file (T.800, annex I)
# Start-of-frame markers of JPEG (T.81 table B.1, without 0xC4 DHT, 0xC8 JPG, 0xCC DAC) and of JPEG-LS (0xF7).
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def bare_codestream(code: bytes) -> bytes:
    """A JPEG 2000 code without the JP2 boxes that some writers leave around it (PS3.5 A.4.4 forbids them)."""
    if code[4:8] != JP2_SIGNATURE:
        return code
    start = code.find(SOC + SIZ)
    return code[start:] if start >= 0 else code


def codestream_shape(code: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS, JPEG 2000 or HTJ2K code declares; None where it declares none.

    Args:
        code: The code of one frame; JPEG 2000 without a file format around it.
    """
    if code[:2] == SOC and code[2:4] == SIZ and len(code) >= 24:
        # SIZ: length, capabilities (2 bytes each), then width, height, and offsets of the image area (4 bytes each).
        right, bottom, left, top = (int.from_bytes(code[at : at + 4]) for at in (8, 12, 16, 20))
        return bottom - top, right - left
    return _jpeg_shape(code) if code[:2] == SOI else None


def wavelet_bits(code: bytes) -> int | None:
    """Bits per sample of a JPEG 2000 code of one unsigned component, or None if it is something else."""
    if code[:4] != SOC + SIZ or len(code) < 43 or int.from_bytes(code[40:42]) != 1 or code[42] & 0x80:
        return None
    return code[42] + 1  # Ssiz: depth less one, and the sign in the highest bit


def _jpeg_shape(code: bytes) -> tuple[int, int] | None:
    """Walks the segments up to the start of the frame."""
    at = 2
    while at + 9 <= len(code) and code[at] == 0xFF:
        marker = code[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in FRAMES:
            return int.from_bytes(code[at + 5 : at + 7]), int.from_bytes(code[at + 7 : at + 9])
        at += 2 + int.from_bytes(code[at + 2 : at + 4])
    return None
