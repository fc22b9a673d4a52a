#pragma once
// USOL_HOST_DEVICE marks the functions that .cu files compile for the GPU as well.

#if defined(__CUDACC__)
#define USOL_HOST_DEVICE __host__ __device__
#else
#define USOL_HOST_DEVICE
#endif
