// Shared by the timings of rows of logits and of linear heads.
#pragma once

#include <functional>
#include <string>

#include "../../test/native/device_array.h"

/** Prints all times as JSON; returns the exit status of the program. */
int run_timing(bool quick);

/** Prints the times of linear heads as members of that JSON object. */
void time_linear_heads(bool quick);

/** The median time of `operation` in milliseconds, after one call to warm up. */
double median_ms(int runs, const std::function<void()>& operation);

/** Fills device memory with a repeated pattern of 65,536 values in [-scale, scale). */
void fill(const DeviceArray<unsigned char>& memory, size_t bytes, sweet::DType dtype, double scale);

/** The output of a Python program of bench/cuda with its arguments; "null" if it fails. */
std::string python(const std::string& arguments);
