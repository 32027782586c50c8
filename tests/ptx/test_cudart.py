"""The stand-in for libcudart: memory, streams, attributes, and launches that a driver would refuse."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.ptx.build import build, link
from tests.ptx.conftest import BUILD, EXPORTED

# cudaError_t
INVALID_VALUE, MEMORY_ALLOCATION, INVALID_CONFIGURATION, INVALID_FUNCTION, NOT_SUPPORTED = 1, 2, 9, 98, 801
INVALID_DEVICE = 101


@pytest.fixture
def host(library):
    lib = library("host", archs=(90,))
    lib.error_name.restype = ctypes.c_char_p
    lib.last_error()  # of an earlier test
    return lib


def pointer(values: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


def allocated(host, name: str, size: int) -> ctypes.c_void_p:
    made = ctypes.c_void_p()
    assert getattr(host, name)(ctypes.byref(made), ctypes.c_size_t(size)) == 0
    return made


def sized(size: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(size)


@pytest.mark.parametrize(
    ("allocate", "free"),
    [
        ("malloc_of", "free_of"),
        ("malloc_async", "free_async"),
        ("host_alloc", "free_host"),
        ("malloc_host", "free_host"),
    ],
)
def test_memory_is_aligned_and_poisoned(host, allocate, free):
    made = allocated(host, allocate, 1000)
    assert made.value % 256 == 0
    assert ctypes.string_at(made, 1000) == b"\xff" * 1000
    device = ctypes.c_void_p()
    assert host.host_get_device_pointer(ctypes.byref(device), made) == 0
    assert device.value == made.value
    assert getattr(host, free)(made) == 0
    assert getattr(host, free)(None) == 0
    assert not allocated(host, allocate, 0)


@pytest.mark.parametrize("size", [2**62, 2**64 - 1])
def test_more_memory_than_there_is(host, size):
    made = ctypes.c_void_p()
    assert host.malloc_of(ctypes.byref(made), sized(size)) == MEMORY_ALLOCATION
    assert host.last_error() == MEMORY_ALLOCATION
    assert host.last_error() == 0


def test_copies_and_fills(host):
    device, source, back = allocated(host, "malloc_of", 64), np.arange(16, dtype=np.int32), np.zeros(16, np.int32)
    assert host.memcpy_of(device, pointer(source), sized(64)) == 0
    assert host.memset_of(ctypes.c_void_p(device.value + 8), 0x101, sized(4)) == 0  # of the value the low byte
    assert host.memset_async(ctypes.c_void_p(device.value + 60), 0, sized(4)) == 0
    assert host.memcpy_async(pointer(back), device, sized(64)) == 0
    assert back.tolist() == [0, 1, 0x01010101, *range(3, 15), 0]
    assert host.free_of(device) == 0


def test_streams_and_events(host):
    memory = np.zeros(1, np.int32)
    assert host.stream_and_events(pointer(memory)) == 0
    assert memory[0] == 5


def test_parameters_of_all_sizes(host):
    out = np.zeros(11)
    assert host.launch_parameters(pointer(out)) == 0
    assert out.tolist() == [ord("a"), -2, 3, 0.5, -0.25, ord("f"), 2**40, 1, -2, 3, -4]


def test_attributes_of_the_device(host):
    """cudaDeviceAttr -> an H100's (CUDA Programming Guide, "Compute Capabilities": 9.0)."""
    value = ctypes.c_int()
    known = {1: 1024, 8: 48 * 1024, 10: 32, 16: 132, 39: 2048, 75: 9, 76: 0, 81: 228 * 1024, 97: 227 * 1024}
    for attribute, expected in known.items():
        assert host.get_attribute(ctypes.byref(value), attribute) == 0
        assert value.value == expected
    assert host.get_attribute(ctypes.byref(value), 9999) == NOT_SUPPORTED
    assert "attribute 9999 is unknown here" in host.last_report().decode()
    assert host.set_device(0) == 0
    assert host.set_device(1) == INVALID_DEVICE


def test_errors_stay_until_they_are_asked_for(host):
    assert host.set_device(1) == INVALID_DEVICE
    assert host.peek_at_last_error() == INVALID_DEVICE
    assert host.device_synchronize() == INVALID_DEVICE
    assert host.last_error() == INVALID_DEVICE
    assert host.last_error() == host.device_synchronize() == 0
    assert host.error_name(INVALID_DEVICE) == b"cudaErrorInvalidDevice"


def refused(host, error: int, expected: int, reason: str) -> None:
    assert error == expected
    assert reason in host.last_report().decode()
    assert host.peek_at_last_error() == 0  # launchers have taken it


ONE_SIZE = """\
__global__ void __launch_bounds__(64) count_threads(int* memory) { atomicAdd(memory, 1); }
extern "C" int launch_block(int* memory, int x, int y) {
  count_threads<<<1, dim3(x, y)>>>(memory);
  return cudaGetLastError();
}
extern "C" const char* last_report() { return cudaGetErrorString(cudaErrorInvalidValue); }
"""


def test_a_kernel_of_one_block_size(tmp_path):
    """.reqntid, which nvcc writes for kernels of clusters only: put into the PTX by hand."""
    source, ptx = tmp_path / "one_size.cu", BUILD / "one_size" / "one_size.compute_90.ptx"
    source.write_text(ONE_SIZE)
    build([source], BUILD, nvcc_flags=EXPORTED)
    text = ptx.read_text()
    assert text.count(".maxntid 64") == 1
    ptx.write_text(text.replace(".maxntid 64", ".reqntid 32, 2, 1"))
    lib = ctypes.CDLL(str(link(build([source], BUILD, nvcc_flags=EXPORTED), tmp_path / "libone_size.so")))
    lib.last_report.restype = ctypes.c_char_p
    memory = np.zeros(1, np.int32)
    assert lib.launch_block(pointer(memory), 32, 2) == 0
    assert memory[0] == 64
    assert lib.launch_block(pointer(memory), 64, 1) == INVALID_VALUE
    assert "block (64,1,1) is not the required (32,2,1)" in lib.last_report().decode()


def test_grids_and_blocks_that_are_too_large(host):
    memory = np.zeros(1, np.int32)
    assert host.launch_grid(pointer(memory), 2, 3, 4, 64) == 0
    assert memory[0] == 2 * 3 * 4 * 64
    for grid, block_z, reason in (
        ((1, 1, 1), 65, "block (1,1,65) is too large"),
        ((1, 1, 65536), 1, "grid (1,1,65536) is too large"),
        ((2**31, 1, 1), 1, "grid (2147483648,1,1) is too large"),
    ):
        error = host.launch_grid(pointer(memory), *map(ctypes.c_uint, grid), block_z)
        refused(host, error, INVALID_CONFIGURATION, reason)
    # A GPU would take days for it; here the number of blocks has 32 bits.
    error = host.launch_grid(pointer(memory), 65536, 65535, 2, 1)
    refused(host, error, NOT_SUPPORTED, "more blocks than can be counted here")
    assert memory[0] == 2 * 3 * 4 * 64


def test_shared_memory_has_to_be_asked_for(host):
    memory = np.zeros(32, np.int32)
    default, most = 48 * 1024 - 1000, 227 * 1024 - 1000
    for allowed in (None, 60000, most, 100):
        if allowed is not None:
            assert host.allow_dynamic(allowed) == 0
        limit = default if allowed is None else allowed
        assert host.launch_with_static(pointer(memory), sized(limit)) == 0
        assert memory.tolist() == [2] * 32
        error = host.launch_with_static(pointer(memory), sized(limit + 1))
        refused(host, error, INVALID_VALUE, f"besides 1000 static ones: {limit} are allowed")
    for bytes_ in (most + 1, -1):
        assert host.allow_dynamic(bytes_) == INVALID_VALUE
        assert host.last_error() == INVALID_VALUE
    error = host.launch_with_huge_static(pointer(memory))
    refused(host, error, INVALID_VALUE, "49156 bytes of static shared memory are more than there is")


def test_attributes_of_functions(host):
    assert host.set_function_attribute(9, 100) == 0  # a carveout is a hint
    assert host.set_function_attribute(10, 1) == NOT_SUPPORTED  # the required cluster width
    assert host.unknown_function() == INVALID_FUNCTION
    assert host.last_error() == INVALID_FUNCTION


def test_launches_with_attributes(host):
    """cudaLaunchKernelExC: what changes no result is accepted, what needs more than this tool has is not."""
    memory = np.zeros(1, np.int32)
    for number, attribute in enumerate((-1, 0, 6, 8), start=1):  # none, ignore, programmatic serialization, priority
        assert host.launch_with_attribute(pointer(memory), attribute) == 0
        assert memory[0] == 6 * number
    for attribute in (2, 4):  # cooperative, cluster
        assert host.launch_with_attribute(pointer(memory), attribute) == NOT_SUPPORTED
        assert f"attribute {attribute} is not supported" in host.last_report().decode()
        assert host.last_error() == NOT_SUPPORTED
    assert memory[0] == 6 * 4
