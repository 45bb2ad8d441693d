#pragma once
#include "common.h"

static inline i64 count_blocks(const Problem *p) { return round_up(p->M) / GROUP * LANES; }

/* Largest element of each block of `key`, into w->block. */
static inline void find_block_maxima(Scratch *w, const float *key, i64 padded) {
    for (i64 start = 0; start < padded; start += GROUP) {
        Lanes block = load(key + start);
        for (i64 m = start + LANES; m < start + GROUP; m += LANES) block = larger(block, load(key + m));
        memcpy(w->block + start / LANES, &block, sizeof block);
    }
}

/* A value that at least `wanted` of the n values reach, and not many more unless they are equal. By bisection, since
 * counting is fast. */
static inline float cut_for(const float *values, i64 n, i64 wanted) {
    float low = values[0], high = values[0];
    for (i64 i = 0; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    if (low < NEVER / 2) { /* latents that may not be chosen would waste the first bisections */
        float least = high;
        i64 chosen = 0;
        for (i64 i = 0; i < n; i++) {
            int counts = values[i] >= NEVER / 2;
            chosen += counts;
            least = counts && values[i] < least ? values[i] : least;
        }
        if (chosen < wanted) return NEVER / 2;
        low = least;
    }
    for (int round = 0; round < 16; round++) {
        float middle = low + (high - low) / 2;
        int32_t reached = 0;
        for (i64 i = 0; i < n; i++) reached += values[i] >= middle;
        if (reached >= wanted) low = middle;
        else high = middle;
        if (reached >= wanted && reached <= wanted + wanted / 8) break;
    }
    return low;
}

/* Collect into w->latent those that reach `cut`, given the maxima of the blocks of `key`. Returns their number. */
static inline i64 collect(const Problem *p, Scratch *w, const float *key, float cut) {
    i64 n = 0;
    for (i64 b = 0; b < count_blocks(p); b++) {
        if (!(w->block[b] >= cut)) continue;
        i64 start = b / LANES * GROUP + b % LANES, end = start + GROUP < p->M ? start + GROUP : p->M;
        for (i64 m = start; m < end; m += LANES)
            if (key[m] >= cut) w->latent[n++] = (int32_t)m;
    }
    return n;
}
