"""The CUDA half in the tests: run on the CPU from its own PTX (tests/ptx), or on a real device; see docs/testing.md."""
