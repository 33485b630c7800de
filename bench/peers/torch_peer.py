"""One PyTorch process for a benchmark: reads the name of a call on stdin, answers with milliseconds."""

import ctypes
import json
import sys
import time

import torch


def blas():
    """The BLAS that PyTorch's library resolves sgemm_ to: its name, and a warning if it is slow."""
    library = ctypes.CDLL(torch._C.__file__)
    if hasattr(library, "openblas_get_config"):
        library.openblas_get_config.restype = ctypes.c_char_p
        version = library.openblas_get_config().decode().split()[1]
        threading = ("sequential", "pthread", "OpenMP")[library.openblas_get_parallel()]
        warnings = {"sequential": "which uses one thread", "pthread": "whose threads compete with PyTorch's own"}
        return f"OpenBLAS {version} {threading}", warnings.get(threading)
    if torch.backends.mkl.is_available():
        return "MKL", None
    path = "unknown BLAS"
    if hasattr(library, "sgemm_"):
        address = ctypes.cast(library.sgemm_, ctypes.c_void_p).value
        with open("/proc/self/maps") as maps:
            for line in maps:
                start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
                if start <= address < end:
                    path = line.split()[-1]
    if "/blas/libblas" in path:
        return "reference BLAS", "whose products are slow"
    return path, None


def passes(forward, leaves):
    """forward() gives log-probs; 'forwardBackward' adds the gradient of their sum at the leaves."""

    def forward_alone():
        with torch.no_grad():
            forward()

    def both():
        for leaf in leaves:
            leaf.grad = None
        forward().sum().backward()

    return {"forward": forward_alone, "forwardBackward": both}


def milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def serve(calls, uses_blas):
    """Answers the name of a call with its time."""
    name, warning = blas() if uses_blas else (None, None)
    print(json.dumps({"version": torch.__version__, "blas": name, "warning": warning}), flush=True)
    for line in sys.stdin:
        print(milliseconds(calls[line.strip()]), flush=True)
