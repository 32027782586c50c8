// The ops register themselves when the library is loaded; the module makes it importable, and tells what it is made of.
#include <Python.h>

#include <exception>

#include "common/cpu/isa.h"
#include "common/cuda_calls.h"

static PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(s2sfast::isa_name()); }
static PyObject* cuda_archs(PyObject*, PyObject*) { return PyUnicode_FromString(S2SFAST_CUDA_ARCHS); }
static PyObject* cuda_toolkit(PyObject*, PyObject*) { return PyUnicode_FromString(S2SFAST_CUDA_TOOLKIT); }
static PyObject* raise_faults(PyObject*, PyObject*) {
  try {
    s2sfast::raise_faults();
    Py_RETURN_NONE;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
    return nullptr;
  }
}
static PyMethodDef methods[] = {
    {"isa", isa, METH_NOARGS, "Name of the instruction set in use."},
    {"cuda_archs", cuda_archs, METH_NOARGS, "What the CUDA kernels were compiled for, between spaces; empty without."},
    {"cuda_toolkit", cuda_toolkit, METH_NOARGS, "The CUDA toolkit's release that compiled them; empty without."},
    {"raise_faults", raise_faults, METH_NOARGS, "ValueError for a fault in the data that a device has found by now."},
    {}};

PyMODINIT_FUNC PyInit__ops() {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_ops", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
  if (const char* error = s2sfast::isa_error()) {
    PyErr_Format(PyExc_ImportError, "s2sfast: S2SFAST_ISA cannot be followed: %s", error);
    return nullptr;
  }
  return PyModule_Create(&module);
}
