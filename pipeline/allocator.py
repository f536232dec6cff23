"""How the C library keeps memory: what the last training step or film freed is used again, in huge pages."""

import ctypes
import sys
from functools import cache

# Options of glibc's mallopt(3), advice of Linux's madvise(2).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MADV_HUGEPAGE = -1, -4, 14
_NEVER = -1
_PAGE = 4096
# Address space, not memory: only what is touched is ever backed. More than a training step of the demo needs.
_RESERVED = 6 * 2**30


@cache
def keep_freed_memory() -> bool:
    """Tells glibc to keep large blocks that are freed, and Linux to back them with huge pages; once per process.

    PyTorch's CPU tensors and NumPy's arrays come straight from malloc. By default glibc maps every block above 32 MB
    anew and unmaps it when it is freed, so that each training step pays for faulting and zeroing the same activations
    again, 4 KB at a time (bench/results/allocator.json), and each film for its pixels (a fifth of the time of
    ingesting an uncompressed one).

    Returns:
        Whether the C library knows these settings; elsewhere (macOS, musl) nothing happens.
    """
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    mallopt = getattr(library, "mallopt", None)
    if library is None or mallopt is None:
        return False
    kept = all(mallopt(option, value) == 1 for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)))
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if kept and (block := library.malloc(_RESERVED)):
        start = -(-block // _PAGE) * _PAGE
        library.madvise(start, _RESERVED - _PAGE, _MADV_HUGEPAGE)  # a kernel without huge pages refuses: no harm
        library.free(block)
    return kept
