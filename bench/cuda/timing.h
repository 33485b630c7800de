// What the timings of rows and of linear heads share.
#pragma once

#include <functional>
#include <string>

#include "../../test/native/device_array.h"

/** Prints the times as JSON; returns the program's exit status. */
int run_timing(bool quick);

/** The list of the linear head's. */
void time_linear_heads(bool quick);

/** Milliseconds; every operation waits for its end by itself. */
double median_ms(int runs, const std::function<void()>& operation);

/** Numbers without a host that makes them all: a small pattern repeats, from -scale to scale. */
void fill(const DeviceArray<unsigned char>& memory, size_t bytes, sweet::DType dtype, double scale);

/** What a program of bench/cuda in Python prints; "null" where that cannot be run. */
std::string python(const std::string& arguments);
