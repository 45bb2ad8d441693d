/* Backward of matching pursuit without stored residuals: kernels/cpu/sweep.py has the equations. */
#include "columns.h"

typedef struct {
    const float *acts;       /* [B, K] */
    const i64 *indices;      /* [B, K] */
    const float *residual;   /* [B, D] r_k */
    const float *W_enc;      /* [M, D] */
    const float *W_dec;      /* [M, D], or [K, M, D] */
    const float *grad_acts;  /* [B, K] */
    const float *grad_last;  /* [B, D] gradient at r_k */
    float *grad_scores;      /* [B, K] out: gradient at the score of each choice */
    float *grad_first;       /* [B, D] out: gradient at r_0 */
    float *grad_W_enc;       /* [M, D] added to, or NULL */
    float *grad_W_dec;       /* as W_dec, added to, or NULL */
    i64 B, D, K, decoder_stride, detach;
} Sweep;

/* Gradients at scores and inputs, token by token: g <- g + u W_enc[j], u = grad_a - <W_dec[j], g>. */
int sweep_tokens(const Sweep *s) {
    i64 D = s->D, K = s->K;
#pragma omp parallel for schedule(static)
    for (i64 b = 0; b < s->B; b++) {
        float *g = s->grad_first + b * D;
        memcpy(g, s->grad_last + b * D, sizeof(float) * (size_t)D);
        for (i64 i = K - 1; i >= 0; i--) {
            i64 j = s->indices[b * K + i];
            const float *w = s->W_dec + i * s->decoder_stride + j * D, *e = s->W_enc + j * D;
            float u = s->acts[b * K + i] > 0 ? s->grad_acts[b * K + i] - dot(w, g, D) : 0;
            s->grad_scores[b * K + i] = u;
            if (!s->detach) add_scaled(g, u, e, D);
        }
    }
    return 1;
}

/* Weight gradients. Threads share out columns, not tokens, so that nothing is locked, no thread needs a copy of the
 * gradient and every sum has one order: the same sweep, on a few columns, with the gradients at scores known. */
int sweep_columns(const Sweep *s) {
    int enough = 1;
#pragma omp parallel reduction(&& : enough)
    {
        i64 first, n, D = s->D, K = s->K;
        own_columns(D, &first, &n);
        float *r = malloc(sizeof(float) * (size_t)(2 * D)), *g = r + D;
        enough = r != NULL;
        for (i64 b = 0; enough && n > 0 && b < s->B; b++) {
            memcpy(r, s->residual + b * D + first, sizeof(float) * (size_t)n);
            memcpy(g, s->grad_last + b * D + first, sizeof(float) * (size_t)n);
            for (i64 i = K - 1; i >= 0; i--) {
                float a = s->acts[b * K + i], u = s->grad_scores[b * K + i];
                if (!(a > 0)) continue;
                i64 enc = s->indices[b * K + i] * D + first, dec = enc + i * s->decoder_stride;
                add_scaled(r, a, s->W_dec + dec, n);
                if (s->grad_W_dec) add_scaled(s->grad_W_dec + dec, -a, g, n);
                if (s->grad_W_enc) add_scaled(s->grad_W_enc + enc, u, r, n);
                if (!s->detach) add_scaled(g, u, s->W_enc + enc, n);
            }
        }
        free(r);
    }
    return enough;
}
