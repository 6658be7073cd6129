# What can be chosen, and the compiler's flags.

option(VIVA_TESTS "Build the tests: they need libcmocka-dev, libjansson-dev and Python" OFF)
option(VIVA_BENCH "Build the benchmarks of single parts" OFF)
option(VIVA_FUZZ "Build the fuzz targets (clang, libFuzzer)" OFF)
option(VIVA_WERROR "Warnings are errors" OFF)
option(VIVA_HARDEN "Hardened release flags" ON)
option(VIVA_STRIP "What is installed carries no debugging symbols" ON)
set(VIVA_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=: address,undefined or thread")
set(VIVA_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO (where an NVIDIA driver and nvcc are)")
set(VIVA_CUDA_ARCHITECTURES "80-real;89;90a-real" CACHE STRING "GPUs to compile kernels for")
option(VIVA_COVERAGE "Instrument for gcov" OFF)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# -g: backtraces, and the types that abidiff compares. No -DNDEBUG: the library has no assert to switch off.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

include(CheckPIESupported)
include(GNUInstallDirs)
check_pie_supported(LANGUAGES C)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_path(VIVA_XXHASH_INCLUDE xxhash.h DOC "Folder of xxhash.h, which is compiled in")
if(NOT VIVA_XXHASH_INCLUDE)
  message(FATAL_ERROR "xxhash.h is missing: install libxxhash-dev, or run `sh tools/setup demo`")
endif()

add_library(viva_flags INTERFACE)
target_compile_definitions(viva_flags INTERFACE _GNU_SOURCE)
# No contraction: a·b + c is two roundings unless the code says fma. Tokens must not depend on the compiler.
target_compile_options(viva_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes
  -Wmissing-prototypes -ffp-contract=off -fno-math-errno)
if(VIVA_WERROR)
  target_compile_options(viva_flags INTERFACE -Werror)
endif()

# Hardening, as the OpenSSF compiler guide advises; tests/install/check_hardening.sh looks for it in what was built.
if(VIVA_HARDEN AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT VIVA_SANITIZE)
  set(VIVA_FORTIFY 3)
  if(CMAKE_C_COMPILER_ID STREQUAL GNU AND CMAKE_C_COMPILER_VERSION VERSION_LESS 12)
    set(VIVA_FORTIFY 2) # gcc 11, Ubuntu 22.04's, warns of 3 in every file
  endif()
  target_compile_options(viva_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${VIVA_FORTIFY} -fstack-protector-strong
    -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(viva_flags INTERFACE -fcf-protection=full)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    target_compile_options(viva_flags INTERFACE -mbranch-protection=standard)
  endif()
  target_link_options(viva_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()
if(VIVA_SANITIZE)
  target_compile_options(viva_flags INTERFACE -fsanitize=${VIVA_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(viva_flags INTERFACE -fsanitize=${VIVA_SANITIZE})
endif()
if(VIVA_FUZZ) # not in CMAKE_C_FLAGS: CMake's own trials of the compiler have no runtime to link with
  target_compile_options(viva_flags INTERFACE -fsanitize=fuzzer-no-link -fsanitize-coverage=trace-pc)
endif()
if(VIVA_COVERAGE)
  target_compile_options(viva_flags INTERFACE --coverage)
  target_link_options(viva_flags INTERFACE --coverage)
endif()

# CUDA: nvcc 13 or newer, cudart to link statically. VIVA_WITH_CUDA says whether this build has the backend.
set(VIVA_WITH_CUDA OFF)
if(VIVA_CUDA STREQUAL "ON" OR (VIVA_CUDA STREQUAL "AUTO" AND EXISTS /proc/driver/nvidia/version
    AND NOT VIVA_SANITIZE AND NOT VIVA_COVERAGE AND NOT VIVA_FUZZ))
  find_program(VIVA_NVCC nvcc PATHS /usr/local/cuda/bin)
  find_library(VIVA_CUDART cudart_static PATHS /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib)
  if(VIVA_NVCC AND VIVA_CUDART)
    set(CMAKE_CUDA_COMPILER ${VIVA_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES ${VIVA_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    enable_language(CUDA)
    set(CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES "") # C links; the kernels need no C++ library
    set(CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES "")
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
      set(VIVA_WITH_CUDA ON)
    elseif(VIVA_CUDA STREQUAL "ON")
      message(FATAL_ERROR "nvcc is ${CMAKE_CUDA_COMPILER_VERSION}; the CUDA backend needs 13.0 or newer (or -DVIVA_CUDA=OFF)")
    endif()
  elseif(VIVA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VIVA_CUDA is ON, but nvcc or libcudart_static.a was not found: install the CUDA toolkit, or set "
      "CUDACXX and CMAKE_LIBRARY_PATH")
  endif()
endif()
if(VIVA_WITH_CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  set(CMAKE_CUDA_FLAGS_DEBUG "-O1 -g")
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  add_library(viva_cuda_flags INTERFACE) # viva_flags in nvcc's words
  # C++ also warns of members that a designated initialiser leaves at zero, where C does not.
  target_compile_options(viva_cuda_flags INTERFACE
    "SHELL:-Xcompiler -Wall,-Wextra,-Wno-missing-field-initializers,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics")
  if(VIVA_WERROR)
    target_compile_options(viva_cuda_flags INTERFACE "SHELL:--Werror all-warnings -Xcompiler -Werror")
  endif()
endif()
