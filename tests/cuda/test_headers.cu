/* tests/cuda/test_headers.cu: backend.h, and all that it reaches, in a CUDA source; and every code of every small format
 * decodes as in C: in the host's half, and on a GPU when there is one. Also compiled as plain C++ (check_headers.sh). */
#include "backend/backend.h"

#include <cstdio>
#include <type_traits>

#include "codes.h"

/* What crosses to the device is plain memory. */
static_assert(std::is_trivially_copyable<batch>::value && std::is_standard_layout<batch>::value, "a step");
static_assert(std::is_trivially_copyable<weight>::value && std::is_standard_layout<weight>::value, "a weight");
static_assert(std::is_trivially_copyable<decoder>::value && std::is_standard_layout<decoder>::value, "a model");
static_assert(sizeof(batch_span) == 20, "five numbers");

static int differs(const char *where, int format, uint32_t code, uint32_t found) {
  const uint32_t expected = decode_code_in_c(format, code);
  if (found == expected) return 0;
  std::fprintf(stderr, "%s: format %d, code 0x%x: %08x, in C %08x\n", where, format, code, found, expected);
  return 1;
}

#ifdef __CUDACC__
__global__ void decode_all(int format, uint32_t count, uint32_t *bits) {
  const uint32_t code = blockIdx.x * blockDim.x + threadIdx.x;
  if (code < count) bits[code] = decode_code(format, code);
}

/* A weight's scales, of every type, can be read in a kernel: compiled only. */
__global__ void read_scale(weight w, float *scale) { *scale = weight_scale(&w, 0, 0) * weight_row_scale(&w, 0); }

static int device_half() {
  static uint32_t bits[65536];
  int devices = 0, wrong = 0;
  uint32_t *dev;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return 0; /* none here */
  if (cudaMalloc((void **)&dev, sizeof bits) != cudaSuccess) return 1;
  for (int format = 0; format < CODE_FORMATS; format++) {
    const uint32_t count = codes_of(format);
    decode_all<<<(count + 255) / 256, 256>>>(format, count, dev);
    if (cudaMemcpy(bits, dev, count * sizeof *bits, cudaMemcpyDeviceToHost) != cudaSuccess) return 1;
    for (uint32_t code = 0; code < count; code++) wrong += differs("GPU", format, code, bits[code]);
  }
  std::printf("GPU: %s\n", wrong ? "wrong" : "the same");
  return wrong != 0 || cudaFree(dev) != cudaSuccess;
}
#else
static int device_half() { return 0; }
#endif

int main() {
  uint32_t tried = 0;
  int wrong = 0;
  for (int format = 0; format < CODE_FORMATS; format++)
    for (uint32_t code = 0; code < codes_of(format); code++, tried++)
      wrong += differs("host", format, code, decode_code(format, code));
  std::printf("host: %u codes, %d differ from C\n", tried, wrong);
  return wrong != 0 || device_half();
}
