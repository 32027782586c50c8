// The stand-in for libcudart, called as a host program does: a wrapper for each call, and kernels with launch limits.
// tests/ptx/test_cudart.py drives them.
#include <cuda_runtime.h>

namespace {

constexpr int kStatic = 1000;

__global__ void count_threads(int* memory) { atomicAdd(memory, 1); }

__global__ void with_static_memory(int* memory) {
  extern __shared__ char dynamic[];
  __shared__ char fixed[kStatic];
  fixed[threadIdx.x] = dynamic[threadIdx.x] = 1;
  memory[threadIdx.x] = fixed[threadIdx.x] + dynamic[threadIdx.x];
}

__global__ void with_huge_static_memory(int* memory) {
  __shared__ int fixed[12289];  // 4 bytes more than there are without asking; ptxas would refuse it
  fixed[threadIdx.x] = 1;
  memory[threadIdx.x] = fixed[threadIdx.x];
}

__global__ void parameters_of_all_sizes(double* out, char a, short b, int c, float d, double e, char f, long long g,
                                        int4 h) {
  const double values[] = {double(a), double(b),   double(c),   double(d),   e,          double(f),
                           double(g), double(h.x), double(h.y), double(h.z), double(h.w)};
  for (int i = 0; i < 11; ++i) out[i] = values[i];
}

}  // namespace

extern "C" {

int malloc_of(void** pointer, size_t size) { return cudaMalloc(pointer, size); }
int malloc_async(void** pointer, size_t size) { return cudaMallocAsync(pointer, size, nullptr); }
int host_alloc(void** pointer, size_t size) { return cudaHostAlloc(pointer, size, cudaHostAllocMapped); }
int malloc_host(void** pointer, size_t size) { return cudaMallocHost(pointer, size); }
int free_of(void* pointer) { return cudaFree(pointer); }
int free_async(void* pointer) { return cudaFreeAsync(pointer, nullptr); }
int free_host(void* pointer) { return cudaFreeHost(pointer); }
int host_get_device_pointer(void** device, void* host) { return cudaHostGetDevicePointer(device, host, 0); }
int memcpy_of(void* to, const void* from, size_t size) { return cudaMemcpy(to, from, size, cudaMemcpyDefault); }
int memcpy_async(void* to, const void* from, size_t size) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, nullptr);
}
int memset_of(void* to, int value, size_t size) { return cudaMemset(to, value, size); }
int memset_async(void* to, int value, size_t size) { return cudaMemsetAsync(to, value, size, nullptr); }

int get_attribute(int* value, int attribute) {
  return cudaDeviceGetAttribute(value, static_cast<cudaDeviceAttr>(attribute), 0);
}
int set_device(int device) { return cudaSetDevice(device); }
int last_error() { return cudaGetLastError(); }
int peek_at_last_error() { return cudaPeekAtLastError(); }
int device_synchronize() { return cudaDeviceSynchronize(); }
const char* error_name(int error) { return cudaGetErrorName(static_cast<cudaError_t>(error)); }
const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

// Launches in a stream of its own between two events; the first error of all calls.
int stream_and_events(int* memory) {
  cudaStream_t stream;
  cudaEvent_t start, end;
  float milliseconds = -1;
  const cudaError_t made[] = {cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaEventCreate(&start),
                              cudaEventCreateWithFlags(&end, cudaEventDefault)};
  const cudaError_t begun = cudaEventRecord(start, stream);
  count_threads<<<1, 5, 0, stream>>>(memory);
  const cudaError_t done[] = {begun,
                              cudaEventRecord(end, stream),
                              cudaStreamWaitEvent(stream, end, 0),
                              cudaEventSynchronize(end),
                              cudaEventQuery(end),
                              cudaStreamQuery(stream),
                              cudaStreamSynchronize(stream),
                              cudaEventElapsedTime(&milliseconds, start, end),
                              cudaEventDestroy(start),
                              cudaEventDestroy(end),
                              cudaStreamDestroy(stream)};
  for (cudaError_t error : made) {
    if (error != cudaSuccess) return error;
  }
  for (cudaError_t error : done) {
    if (error != cudaSuccess) return error;
  }
  return milliseconds >= 0 ? cudaSuccess : cudaErrorUnknown;
}

int launch_grid(int* memory, unsigned x, unsigned y, unsigned z, unsigned block_z) {
  count_threads<<<dim3(x, y, z), dim3(1, 1, block_z)>>>(memory);
  return cudaGetLastError();
}
int launch_with_static(int* memory, size_t dynamic) {
  with_static_memory<<<1, 32, dynamic>>>(memory);
  return cudaGetLastError();
}
int launch_with_huge_static(int* memory) {
  with_huge_static_memory<<<1, 32>>>(memory);
  return cudaGetLastError();
}
int allow_dynamic(int bytes) {
  return cudaFuncSetAttribute(with_static_memory, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}
int set_function_attribute(int attribute, int value) {
  return cudaFuncSetAttribute(with_static_memory, static_cast<cudaFuncAttribute>(attribute), value);
}
int unknown_function() {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(&last_error), cudaFuncAttributeMaxDynamicSharedMemorySize,
                              1);
}
int launch_parameters(double* out) {
  parameters_of_all_sizes<<<1, 1>>>(out, 'a', -2, 3, 0.5f, -0.25, 'f', 1ll << 40, make_int4(1, -2, 3, -4));
  return cudaGetLastError();
}

// With one launch attribute, or with none (-1).
int launch_with_attribute(int* memory, int id) {
  cudaLaunchAttribute attribute{};
  attribute.id = static_cast<cudaLaunchAttributeID>(id);
  cudaLaunchConfig_t config{};
  config.gridDim = 2, config.blockDim = 3;
  config.attrs = &attribute, config.numAttrs = id >= 0;
  return cudaLaunchKernelEx(&config, count_threads, memory);
}

}  // extern "C"
