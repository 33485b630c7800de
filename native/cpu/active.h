// The kernels of the active instruction set. A call asks once and keeps what it got to its end.
#pragma once

#include "kernels.h"

namespace sweet {

const Kernels& active_kernels();

}  // namespace sweet
