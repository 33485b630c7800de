#pragma once

/** Prints the times as JSON; returns the program's exit status. */
int run_timing(bool quick);
