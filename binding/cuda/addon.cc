#include "device_buffer.h"

using sweet::register_cuda;

NODE_API_MODULE(sweet_rl_cuda, register_cuda)
