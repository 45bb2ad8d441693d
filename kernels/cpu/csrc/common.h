/* Shared by the files here, which kernels/cpu/native.py compiles into one library; docs/kernels.md explains them.
 *
 * Letters as in the rest of the package: B tokens, T tokens whose approximate scores are at hand, D width, M latents,
 * K active latents per token. Matrices are row-major float32. Threads are torch's own (one OpenMP runtime per process).
 * Every exported function returns 1, or 0 where there was no memory for its scratch space.
 */
#pragma once
#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

#define LANES 16      /* floats that are handled side by side */
#define GROUP 256     /* latents that make up LANES blocks, block i having every LANES-th latent from i on */
enum { FLOAT32, BFLOAT16, INT8 }; /* kinds of approximate scores */

#define NEVER (-1e30f) /* score of a latent that may not be chosen; finite, so that the compiler may vectorise freely */

typedef struct {
    const void *scores;   /* [T, M] approximate W_enc r without bias: float32, bfloat16, or int32 from int8 products */
    const float *W_enc;   /* [M, D] */
    const float *b_enc;   /* [M] or NULL */
    const float *reach;   /* [M] how far a score may move per unit of residual change */
    const float *spread;  /* [M] squared: how much more than by chance scores move when a decoder row is subtracted */
    const float *W_dec;   /* [M, D], or [K, M, D] */
    const void *gram;     /* [M, M] W_dec W_enc^T, bfloat16 or float32 as scores; NULL unless pursue_by_update */
    const float *latent_grain; /* [M] what 1 in an int8 row of W_enc stands for; NULL unless INT8 */
    const float *token_grain;  /* [T] the same of residuals */
    const i64 *tokens;    /* [T] row of each token in the arrays below */
    const i64 *excluded;  /* [B] a latent that the token may not choose, or NULL */
    float *residual;      /* [B, D] */
    float *acts;          /* [B, K] */
    i64 *indices;         /* [B, K] */
    i64 *steps;           /* [B] steps taken so far */
    i64 T, M, D, K;
    i64 kind, repeats, exact_bounds, decoder_stride, shortlist_blocks;
    float threshold, rounding, sigmas, least_reach, largest_reach, largest_grain, largest_grain_share, largest_bias;
} Problem;

typedef struct {
    float *score;   /* [M rounded up to GROUP] */
    float *key;     /* [M rounded up to GROUP] what shortlisting sorts by */
    float *block;   /* [M rounded up / LANES] largest key of each block */
    float *value;   /* [M] last known score of each shortlisted latent */
    float *moved;   /* [M] movement of the residual since that score was taken */
    float *slack;   /* [M] reach of each shortlisted latent */
    float *bound;   /* [M] the most each score can be by now */
    int32_t *latent; /* [M] the shortlist */
    int32_t *rival;  /* [M] places in the shortlist */
    float *start;   /* [D] residual when the scores were computed */
} Scratch;

static inline i64 round_up(i64 n) { return (n + GROUP - 1) / GROUP * GROUP; }

static inline int scratch_new(Scratch *w, i64 M, i64 D) {
    i64 padded = round_up(M);
    float *all = malloc(sizeof(float) * (size_t)(9 * padded + D));
    if (!all) return 0;
    w->score = all;
    w->key = all + padded;
    w->block = all + 2 * padded;
    w->value = all + 3 * padded;
    w->moved = all + 4 * padded;
    w->slack = all + 5 * padded;
    w->bound = all + 6 * padded;
    w->latent = (int32_t *)(all + 7 * padded);
    w->rival = (int32_t *)(all + 8 * padded);
    w->start = all + 9 * padded;
    return 1;
}

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

static inline Lanes load(const float *from) { return *(const Lanes *)from; }

static inline Lanes load_bf16(const uint16_t *from) { /* a bfloat16 is the upper half of a float32 */
    return (Lanes)(__builtin_convertvector(*(const Halves *)from, Bits) << 16);
}

static inline Lanes larger(Lanes a, Lanes b) {
    Bits first = (Bits)(a > b);
    return (Lanes)(((Bits)a & first) | ((Bits)b & ~first));
}

static inline float total(Lanes a) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += a[lane];
    return sum;
}

/* Four sums side by side, since each addition waits for the one before it. */
static inline float dot(const float *a, const float *b, i64 n) {
    Lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    i64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        s0 += load(a + i) * load(b + i);
        s1 += load(a + i + LANES) * load(b + i + LANES);
        s2 += load(a + i + 2 * LANES) * load(b + i + 2 * LANES);
        s3 += load(a + i + 3 * LANES) * load(b + i + 3 * LANES);
    }
    float sum = total((s0 + s1) + (s2 + s3));
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static inline float largest(const float *a, i64 n) {
    float best = a[0];
    for (i64 i = 1; i < n; i++) best = a[i] > best ? a[i] : best;
    return best;
}

static inline float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float from_bf16(uint16_t half) { return from_bits((uint32_t)half << 16); }

static inline uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Approximate scores with bias into w->score, NEVER in the padding. Returns 0 if one is not a finite number; that is
 * told by bits, since the compiler may take every number for finite. */
static inline int read_scores(const Problem *p, i64 row, Scratch *w) {
    const uint32_t exponent = 0x7f800000u;
    uint32_t bad = 0;
    if (p->kind == INT8) {
        const int32_t *from = (const int32_t *)p->scores + row * p->M;
        for (i64 m = 0; m < p->M; m++) w->score[m] = (float)from[m] * (p->token_grain[row] * p->latent_grain[m]);
    } else if (p->kind == BFLOAT16) {
        const uint16_t *from = (const uint16_t *)p->scores + row * p->M;
        for (i64 m = 0; m < p->M; m++) w->score[m] = from_bf16(from[m]);
    } else {
        memcpy(w->score, (const float *)p->scores + row * p->M, sizeof(float) * (size_t)p->M);
    }
    if (p->b_enc)
        for (i64 m = 0; m < p->M; m++) w->score[m] += p->b_enc[m];
    for (i64 m = 0; m < p->M; m++) bad |= (to_bits(w->score[m]) & exponent) == exponent;
    for (i64 m = p->M; m < round_up(p->M); m++) w->score[m] = NEVER;
    return !bad;
}

/* Bounds on the errors of one token's approximate scores: of the operands, `sigmas` standard deviations of what rounding
 * does to them, and of the raw score itself where that was stored in bfloat16. */
typedef struct {
    float per_grain, per_reach, per_score, bias;
} Error;

static inline Error error_of_token(const Problem *p, i64 row, float norm) {
    const float deviation = 0.2886751f; /* of an element that errs evenly within half a grain: 1/sqrt(12) */
    if (p->kind == INT8)
        return (Error){deviation * p->sigmas * norm, deviation * p->token_grain[row] * sqrtf((float)p->D), 0, 0};
    return (Error){0, p->rounding * norm, p->kind == BFLOAT16 ? 1.0f / 256 : 0, p->largest_bias};
}

static inline float error_bound(Error e, float score, float reach, float grain) {
    return e.per_grain * grain + e.per_reach * reach + e.per_score * (fabsf(score) + e.bias);
}

/* Grains of int8 rows; of other kinds anything, since nothing is charged for them. */
static inline const float *grains(const Problem *p) { return p->kind == INT8 ? p->latent_grain : p->reach; }

static inline float exact_score(const Problem *p, const float *x, i64 m) {
    return dot(p->W_enc + m * p->D, x, p->D) + (p->b_enc ? p->b_enc[m] : 0);
}

/* r -= a w; returns |a w|^2. */
static inline float subtract(float *r, float a, const float *w, i64 D) {
    float sum = 0;
    for (i64 d = 0; d < D; d++) {
        float change = a * w[d];
        r[d] -= change;
        sum += change * change;
    }
    return sum;
}

/* The token takes no more steps: its remaining activations are 0. */
static inline void stop(const Problem *p, i64 token, i64 step, i64 latent) {
    for (i64 i = step; i < p->K; i++) {
        p->acts[token * p->K + i] = 0;
        p->indices[token * p->K + i] = latent;
    }
    p->steps[token] = p->K;
}

/* A number that is not finite went in: NaN comes out, in activations and residual, so that any loss tells. */
static inline void give_up(const Problem *p, i64 token, i64 step) {
    stop(p, token, step, 0);
    for (i64 i = step; i < p->K; i++) p->acts[token * p->K + i] = NAN;
    for (i64 d = 0; d < p->D; d++) p->residual[token * p->D + d] = NAN;
}

typedef void Each(const Problem *, i64, Scratch *);

/* Run `each` on the T tokens. */
static inline int for_each_token(const Problem *p, Each *each) {
    int enough = 1;
#pragma omp parallel reduction(&& : enough)
    {
        Scratch w;
        enough = scratch_new(&w, p->M, p->D);
#pragma omp for schedule(dynamic, 1)
        for (i64 row = 0; row < p->T; row++)
            if (enough) each(p, row, &w);
        if (enough) free(w.score);
    }
    return enough;
}
