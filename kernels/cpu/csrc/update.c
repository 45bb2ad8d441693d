/* Matching pursuit that keeps all scores up to date with rows of H = W_dec W_enc^T. */
#include "common.h"

#define SPAN 128 /* latents whose largest score is tracked while scores are updated */

static float largest_magnitude(const float *a, i64 n) { /* latents that may not be chosen aside */
    float best = 0;
    for (i64 i = 0; i < n; i++) {
        float magnitude = a[i] > NEVER / 2 ? fabsf(a[i]) : 0;
        best = magnitude > best ? magnitude : best;
    }
    return best;
}

/* score -= a gram[j], and the largest score of each SPAN; score is padded, gram is not. */
static void update_scores(const Problem *p, Scratch *w, float a, i64 j) {
    i64 M = p->M;
    const uint16_t *half = (const uint16_t *)p->gram + j * M;
    const float *full = (const float *)p->gram + j * M;
    for (i64 from = 0; from < M; from += SPAN) {
        i64 n = M - from < SPAN ? M - from : SPAN;
        float *s = w->score + from, best = NEVER;
        if (p->kind == BFLOAT16) {
            for (i64 m = 0; m < n; m++) {
                s[m] -= a * from_bf16(half[from + m]);
                best = s[m] > best ? s[m] : best;
            }
        } else {
            for (i64 m = 0; m < n; m++) {
                s[m] -= a * full[from + m];
                best = s[m] > best ? s[m] : best;
            }
        }
        w->block[from / SPAN] = best;
    }
}

/* How far an approximate score may be off: by `drift`, as every score, and by the rounding of the raw score it began as. */
static float error_of(const Problem *p, i64 row, i64 m, float drift) {
    if (p->kind != BFLOAT16) return drift;
    return drift + fabsf(from_bf16(((const uint16_t *)p->scores)[row * p->M + m])) / 256;
}

/* Latent of the best exact score: of the best approximate one, or of one that is within its error of beating it.
 * Ties go to the lowest latent. */
static i64 best_exact(const Problem *p, i64 row, Scratch *w, const float *r, float drift, float highest, float *act) {
    i64 spans = (p->M + SPAN - 1) / SPAN, first = 0;
    float top = largest(w->block, spans), most = p->kind == BFLOAT16 ? drift + (highest + p->largest_bias) / 256 : drift;
    while (first < spans - 1 && w->block[first] != top) first++;
    first *= SPAN;
    while (first < p->M - 1 && w->score[first] != top) first++;
    i64 best = first;
    *act = 0;
    if (top <= NEVER / 2) return best; /* none is left */
    *act = exact_score(p, r, best);
    for (i64 span = 0; span < spans; span++) {
        if (!(w->block[span] + most >= *act)) continue;
        i64 last = (span + 1) * SPAN < p->M ? (span + 1) * SPAN : p->M;
        for (i64 m = span * SPAN; m < last; m++) {
            if (w->score[m] + most < *act || m == first || w->score[m] + error_of(p, row, m, drift) < *act) continue;
            float exact = exact_score(p, r, m);
            if (exact > *act || (exact == *act && m < best)) {
                best = m;
                *act = exact;
            }
        }
    }
    return best;
}

/* All steps of one token, its approximate scores kept up to date with rows of gram. */
static void pursue_by_update(const Problem *p, i64 row, Scratch *w) {
    i64 token = p->tokens[row], D = p->D;
    float *r = p->residual + token * D;
    if (!read_scores(p, row, w)) {
        give_up(p, token, 0);
        return;
    }
    if (p->excluded) w->score[p->excluded[token]] = NEVER;
    float moved = dot(r, r, D), path = sqrtf(moved), highest = largest_magnitude(w->score, p->M), a = 0;
    i64 j = 0;
    for (i64 step = 0; step < p->K; step++) {
        update_scores(p, w, a, j); /* at first by 0, for the spans' maxima */
        /* Rounding of different rows of H is independent, of the same row again and again it is not. */
        float drift = p->rounding * p->largest_reach * (p->repeats ? path : sqrtf(moved));
        int done = p->threshold > 0 && sqrtf(dot(r, r, D)) <= p->threshold;
        if (!done) j = best_exact(p, row, w, r, drift, highest, &a);
        if (done || !(a > 0)) {
            stop(p, token, step, j);
            return;
        }
        float movement = subtract(r, a, p->W_dec + j * D, D) * p->spread[j];
        moved += movement;
        path += sqrtf(movement);
        p->acts[token * p->K + step] = a;
        p->indices[token * p->K + step] = j;
        if (!p->repeats) w->score[j] = NEVER;
    }
    p->steps[token] = p->K;
}

/* Carry each of the T tokens through all its steps. */
int pursue_all(const Problem *p) { return for_each_token(p, pursue_by_update); }
