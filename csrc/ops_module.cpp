// The ops register themselves when the library is loaded; the module only makes it importable.
#include <Python.h>

#include "common/cpu/isa.h"

static PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(s2sfast::isa_name()); }
static PyMethodDef methods[] = {{"isa", isa, METH_NOARGS, "Name of the instruction set in use."}, {}};

PyMODINIT_FUNC PyInit__ops() {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_ops", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
  if (const char* error = s2sfast::isa_error()) {
    PyErr_Format(PyExc_ImportError, "s2sfast: S2SFAST_ISA cannot be followed: %s", error);
    return nullptr;
  }
  return PyModule_Create(&module);
}
