// The kernels of the active instruction set. A call asks once and uses the same kernels to its end.
#pragma once

#include "kernels.h"

namespace sweet {

const Kernels& active_kernels();

}  // namespace sweet
