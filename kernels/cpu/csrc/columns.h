#pragma once
#include "common.h"

/* The columns of this thread: a whole number of LANES, so that no two threads write to one cache line. */
static inline void own_columns(i64 D, i64 *first, i64 *count) {
    i64 threads = 1, thread = 0, strips = (D + LANES - 1) / LANES;
#ifdef _OPENMP
    threads = omp_get_num_threads();
    thread = omp_get_thread_num();
#endif
    i64 last = strips * (thread + 1) / threads * LANES;
    *first = strips * thread / threads * LANES;
    *count = (last < D ? last : D) - *first;
}

static inline void add_scaled(float *to, float factor, const float *from, i64 n) {
    for (i64 i = 0; i < n; i++) to[i] += factor * from[i];
}
