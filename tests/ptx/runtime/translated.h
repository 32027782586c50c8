// Everything that translated PTX includes. (Not precompiled: g++ 12 crashes on some of these files with a precompiled
// header, and it takes half a second.)
#pragma once
#include "convert.h"
#include "floats.h"
#include "halves.h"
#include "integers.h"
#include "machine.h"
#include "memory.h"
#include "types.h"
