// The native engine's Python face, without torch: NumPy in, NumPy out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <thread>

#include "common/cpu/isa.h"
#include "common/cpu/vector.h"

namespace py = pybind11;
namespace {

using Rows = py::array_t<float, py::array::c_style | py::array::forcecast>;

using Numbers = py::array_t<float, py::array::c_style | py::array::forcecast>;

Numbers tanh_of(const Numbers& x, int64_t times) {
  Numbers result(x.size());
  const float* in = x.data();
  float* out = result.mutable_data();
  const int64_t count = x.size();
  const py::gil_scoped_release free;
  for (int64_t i = 0; i < times; ++i) S2SFAST_DISPATCH(vector_tanh, in, out, count);
  return result;
}

py::array_t<double> log_sum_exp(const Rows& rows) {
  if (rows.ndim() != 2) throw py::value_error("log_sum_exp: expected rows (R, V)");
  const int64_t count = rows.shape(0), width = rows.shape(1);
  py::array_t<double> sums(count);
  const float* in = rows.data();
  double* out = sums.mutable_data();
  {
    py::gil_scoped_release released;
    for (int64_t r = 0; r < count; ++r) out[r] = S2SFAST_DISPATCH(vector_log_sum_exp, in + r * width, width);
  }
  return sums;
}

}  // namespace

PYBIND11_MODULE(_engine, m) {
  m.doc() = "The torch-free half of s2sfast.";
  m.def("tanh", &tanh_of, py::arg("x"), py::arg("times"),
        "tanh of each number; taken `times` times, which tells how fast it is.");
  m.def("log_sum_exp", &log_sum_exp, py::arg("rows"),
        "log(sum(exp(rows))) of each row of a float32 array (R, V), on one thread: the floor of a beam step.");
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
