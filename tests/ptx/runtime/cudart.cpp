// Stands in for libcudart: nvcc's own host stubs run unchanged, and a launch lands in the translated PTX of that name.
//
// "Device" memory is host memory, streams are in order and done at once. Compiled with hidden visibility: these names
// must never take the place of a real libcudart's in another library of the process.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "machine.h"
#include "module.h"
#include "report.h"

namespace {

constexpr unsigned kDefaultSharedBytes = 48 * 1024;  // static and dynamic, until a kernel asks for more
constexpr unsigned kMaxGridX = 2147483647, kMaxGridYZ = 65535, kMaxBlockZ = 64;

struct RegisteredKernel {
  std::string name;
  int dynamic_limit = -1;  // what cudaFuncSetAttribute allowed; -1: never asked
};

// Filled by constructors of other files, before anything here could have been constructed.
std::map<const void*, RegisteredKernel>& kernels() {
  static std::map<const void*, RegisteredKernel> registered;
  return registered;
}
std::map<const void*, std::string>& variables() {
  static std::map<const void*, std::string> registered;
  return registered;
}

std::mutex launching;

struct Configuration {
  dim3 grid, block;
  size_t dynamic_bytes;
  cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_report;  // what cudaGetErrorString says of the failed launch

cudaError_t remember(cudaError_t error, const std::string& report = "") {
  if (error != cudaSuccess) {
    last_error = error;
    last_report = report;
  }
  return error;
}

cudaError_t refuse(const ptx::Kernel& kernel, cudaError_t error, const std::string& why) {
  return remember(error, "launch refused: " + why + "\n  kernel " + ptx::demangle(kernel.name));
}

cudaError_t check_launch(const ptx::Kernel& kernel, int dynamic_limit, dim3 grid, dim3 block, size_t dynamic_bytes) {
  using ptx::format;
  const cudaError_t configuration = cudaErrorInvalidConfiguration;
  if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z) {
    return refuse(kernel, configuration,
                  format("grid (%u,%u,%u) and block (%u,%u,%u) must not have a zero", grid.x, grid.y, grid.z, block.x,
                         block.y, block.z));
  }
  if (grid.x > kMaxGridX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ) {
    return refuse(kernel, configuration, format("grid (%u,%u,%u) is too large", grid.x, grid.y, grid.z));
  }
  if (ptx::u64(grid.x) * grid.y > UINT32_MAX / grid.z) {
    return refuse(kernel, cudaErrorNotSupported,
                  format("grid (%u,%u,%u) has more blocks than can be counted here", grid.x, grid.y, grid.z));
  }
  const ptx::u64 threads = ptx::u64(block.x) * block.y * block.z;
  if (threads > ptx::kMaxThreads || block.z > kMaxBlockZ) {
    return refuse(kernel, configuration, format("block (%u,%u,%u) is too large", block.x, block.y, block.z));
  }
  if (kernel.max_threads && threads > kernel.max_threads) {
    return refuse(kernel, cudaErrorInvalidValue,
                  format("%llu threads exceed the __launch_bounds__ of %u", static_cast<unsigned long long>(threads),
                         kernel.max_threads));
  }
  const ptx::u32* required = kernel.required_threads;
  if (required[0] && (block.x != required[0] || block.y != required[1] || block.z != required[2])) {
    return refuse(kernel, cudaErrorInvalidValue,
                  format("block (%u,%u,%u) is not the required (%u,%u,%u)", block.x, block.y, block.z, required[0],
                         required[1], required[2]));
  }
  if (kernel.static_bytes > kDefaultSharedBytes) {  // what ptxas says on the way to a GPU
    return refuse(kernel, cudaErrorInvalidValue,
                  format("%u bytes of static shared memory are more than there is", kernel.static_bytes));
  }
  const size_t allowed = dynamic_limit >= 0 ? dynamic_limit : kDefaultSharedBytes - kernel.static_bytes;
  if (dynamic_bytes > allowed) {
    return refuse(kernel, cudaErrorInvalidValue,
                  format("%zu bytes of dynamic shared memory, besides %u static ones: %zu are allowed "
                         "(cudaFuncSetAttribute allows more)",
                         dynamic_bytes, kernel.static_bytes, allowed));
  }
  return cudaSuccess;
}

std::vector<unsigned long long> gather(const ptx::Kernel& kernel, void** arguments) {
  std::vector<unsigned long long> block(kernel.parameter_bytes / 8 + 3);  // zeroed; one word more for a 16-byte start
  auto* bytes = reinterpret_cast<char*>(block.data());
  for (unsigned p = 0; p < kernel.parameter_count; ++p) {
    std::memcpy(bytes + kernel.parameters[p].offset, arguments[p], kernel.parameters[p].size);
  }
  return block;
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, void** arguments, size_t dynamic_bytes) {
  const std::lock_guard lock(launching);
  const auto registered = kernels().find(function);
  if (registered == kernels().end()) return remember(cudaErrorInvalidDeviceFunction, "launch of an unknown function");
  const ptx::Found found = ptx::find_kernel(registered->second.name);
  if (!found.kernel) {
    return remember(cudaErrorInvalidDeviceFunction, "launch of an unknown kernel " +
                                                        ptx::demangle(registered->second.name.c_str()) + " (" +
                                                        registered->second.name + "): " + found.problem);
  }
  const cudaError_t refused = check_launch(*found.kernel, registered->second.dynamic_limit, grid, block, dynamic_bytes);
  if (refused != cudaSuccess) return refused;
  const auto parameters = gather(*found.kernel, arguments);
  const std::string report =
      ptx::launch(*found.module, *found.kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                  static_cast<ptx::u32>(dynamic_bytes), reinterpret_cast<const ptx::u8*>(parameters.data()));
  return report.empty() ? cudaSuccess : remember(cudaErrorLaunchFailure, report);
}

char* device_variable(const void* symbol) {
  const auto found = variables().find(symbol);
  const ptx::GlobalVariable* variable = found == variables().end() ? nullptr : ptx::find_variable(found->second);
  return variable ? static_cast<char*>(variable->address) : nullptr;
}

}  // namespace

extern "C" {

// --- registration and launch: what nvcc's host stubs call --------------------------------------------

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 0; }

void __cudaRegisterFunction(void**, const char* host, char*, const char* device_name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  kernels()[host].name = device_name;
}
void __cudaRegisterVar(void**, char* host, char*, const char* device_name, int, size_t, int, int) {
  variables()[host] = device_name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t dynamic_bytes, cudaStream_t stream) {
  configurations.push_back({grid, block, dynamic_bytes, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* dynamic_bytes, void* stream) {
  if (configurations.empty()) return cudaErrorMissingConfiguration;
  const Configuration top = configurations.back();
  configurations.pop_back();
  *grid = top.grid, *block = top.block, *dynamic_bytes = top.dynamic_bytes;
  *static_cast<cudaStream_t*>(stream) = top.stream;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t dynamic_bytes,
                             cudaStream_t) {
  return launch(function, grid, block, arguments, dynamic_bytes);
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t dynamic_bytes,
                               cudaStream_t) {
  return launch(kernel, grid, block, arguments, dynamic_bytes);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  for (unsigned a = 0; a < config->numAttrs; ++a) {
    const cudaLaunchAttributeID id = config->attrs[a].id;
    // Launches run one after another anyway. Clusters and cooperative grids do not.
    if (id != cudaLaunchAttributeProgrammaticStreamSerialization && id != cudaLaunchAttributePriority &&
        id != cudaLaunchAttributeIgnore) {
      return remember(cudaErrorNotSupported, ptx::format("cudaLaunchKernelExC: attribute %d is not supported", id));
    }
  }
  return launch(function, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const auto registered = kernels().find(function);
  if (registered == kernels().end())
    return remember(cudaErrorInvalidDeviceFunction, "attribute of an unknown function");
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    const ptx::Found found = ptx::find_kernel(registered->second.name);
    const int fixed = found.kernel ? static_cast<int>(found.kernel->static_bytes) : 0;
    if (value < 0 || value + fixed > static_cast<int>(ptx::kMaxSharedBytes)) {
      return remember(cudaErrorInvalidValue,
                      ptx::format("%d bytes of dynamic shared memory are more than there is", value));
    }
    registered->second.dynamic_limit = value;
    return cudaSuccess;
  }
  // A hint only.
  return attribute == cudaFuncAttributePreferredSharedMemoryCarveout ? cudaSuccess : remember(cudaErrorNotSupported);
}

// --- errors ------------------------------------------------------------------------------------------

cudaError_t cudaGetLastError(void) {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorMissingConfiguration:
      return "cudaErrorMissingConfiguration";
    case cudaErrorInvalidSymbol:
      return "cudaErrorInvalidSymbol";
    case cudaErrorInvalidDeviceFunction:
      return "cudaErrorInvalidDeviceFunction";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    default:
      return "cudaErrorUnknown";
  }
}

// The report of this thread's last failure, where there is one.
const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaSuccess) return "no error";
  return last_report.empty() ? cudaGetErrorName(error) : last_report.c_str();
}

// --- memory ------------------------------------------------------------------------------------------

// cudaMalloc promises 256-byte alignment. Fresh memory is poisoned like shared memory.
cudaError_t cudaMalloc(void** pointer, size_t size) {
  const size_t rounded = (size + 255) / 256 * 256;
  if (rounded < size) return remember(cudaErrorMemoryAllocation);
  *pointer = rounded ? std::aligned_alloc(256, rounded) : nullptr;
  if (rounded && !*pointer) return remember(cudaErrorMemoryAllocation);
  if (rounded) std::memset(*pointer, 0xFF, rounded);
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** pointer, size_t size, cudaStream_t) { return cudaMalloc(pointer, size); }
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cudaFree(pointer); }
cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned) { return cudaMalloc(pointer, size); }
cudaError_t cudaMallocHost(void** pointer, size_t size) { return cudaMalloc(pointer, size); }
cudaError_t cudaFreeHost(void* pointer) { return cudaFree(pointer); }
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  std::memmove(to, from, size);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, size, kind);
}
cudaError_t cudaMemset(void* to, int value, size_t size) {
  std::memset(to, value, size);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) { return cudaMemset(to, value, size); }

cudaError_t cudaGetSymbolAddress(void** pointer, const void* symbol) {
  *pointer = device_variable(symbol);
  return *pointer ? cudaSuccess : remember(cudaErrorInvalidSymbol);
}
cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t size, size_t offset, cudaMemcpyKind) {
  char* variable = device_variable(symbol);
  if (!variable) return remember(cudaErrorInvalidSymbol);
  std::memcpy(variable + offset, from, size);
  return cudaSuccess;
}
cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, size_t size, size_t offset, cudaMemcpyKind) {
  const char* variable = device_variable(symbol);
  if (!variable) return remember(cudaErrorInvalidSymbol);
  std::memcpy(to, variable + offset, size);
  return cudaSuccess;
}

// --- streams and events: everything is done when a call returns ---------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = reinterpret_cast<cudaStream_t>(std::malloc(1));
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::free(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return last_error; }
cudaError_t cudaDeviceSynchronize(void) { return last_error; }
cudaError_t cudaStreamQuery(cudaStream_t) { return last_error; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = reinterpret_cast<cudaEvent_t>(std::malloc(1));
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  std::free(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return last_error; }
cudaError_t cudaEventQuery(cudaEvent_t) { return last_error; }
// Time means nothing here.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}

// --- the device: an H100's numbers ---------------------------------------------------------------------

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : remember(cudaErrorInvalidDevice); }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = ptx::kMaxThreads;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = 32;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = kDefaultSharedBytes;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = ptx::kMaxSharedBytes;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 * 1024;
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = 65536;
      break;
    case cudaDevAttrWarpSize:
      *value = ptx::kWarpSize;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = kMaxGridX;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = kMaxGridYZ;
      break;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = ptx::kMaxThreads;
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = kMaxBlockZ;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 * 1024 * 1024;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = 0;
      break;
    default:
      return remember(cudaErrorNotSupported,
                      ptx::format("cudaDeviceGetAttribute: attribute %d is unknown here", attribute));
  }
  return cudaSuccess;
}

}  // extern "C"
