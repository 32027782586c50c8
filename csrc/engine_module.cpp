// The native engine's Python face, without torch: NumPy in, NumPy out.
#include <pybind11/pybind11.h>

#include <thread>

#include "common/cpu/isa.h"

PYBIND11_MODULE(_engine, m) {
  m.doc() = "The torch-free half of s2sfast.";
  m.def("isa", &s2sfast::isa_name, "Name of the instruction set in use: baseline, avx2 or avx512.");
  m.def(
      "isas",
      [] {
        pybind11::list names;
        for (int i = 0; i <= static_cast<int>(s2sfast::best_isa()); ++i) names.append(s2sfast::kIsaNames[i]);
        return names;
      },
      "Names of the instruction sets that this processor can run.");
  m.def(
      "threads", [] { return std::max(1u, std::thread::hardware_concurrency()); },
      "How many threads the processor offers.");
}
