"""Judges CUDA kernels by their machine code, where no GPU is: `python -m tests.sass`.

compile.py builds cubins and reads ptxas, disassembly.py reads instructions with their scheduling fields, flow.py
finds loops, loops.py measures them, occupancy.py tells what an SM holds, report.py puts it together, gates.py holds it
against gates.json.
"""
