// A symbol for the linker: nothing refers to the CUDA objects, whose kernels register themselves, and a linker drops a
// library that nothing refers to. Programs that link usol::cuda ask for this symbol by name.
extern "C" {
extern const int usol_cuda_is_linked;
const int usol_cuda_is_linked = 1;
}
