/* Matching pursuit that takes all scores only now and then: kernels.cpu.compiled.select_by_screening. */
#include "select.h"

#define AHEAD 3 /* rows on their way from memory while one is used */

/* How far the residual went from when it had moved by `then` until it had moved by `now`. Movement is a path's length
 * where bounds must hold for every direction, else a sum of squares weighted by `spread`: steps are taken for orthogonal,
 * and `rate` makes up for those that are not. */
static float distance_moved(const Problem *p, float now, float then, float rate) {
    return p->exact_bounds ? now - then : sqrtf(rate * (now - then));
}

static void prefetch_row(const Problem *p, i64 m) {
    for (i64 d = 0; d < p->D; d += LANES) __builtin_prefetch(p->W_enc + m * p->D + d);
}

/* Position in the shortlist of the best score at residual r, exact; ties go to the lowest latent.
 * Scores that cannot have become the best are left as they are. */
static i64 choose(const Problem *p, Scratch *w, i64 n, const float *r, float moved, float rate) {
    for (i64 c = 0; c < n; c++) w->bound[c] = w->value[c] + w->slack[c] * distance_moved(p, moved, w->moved[c], rate);
    float top = largest(w->bound, n);
    i64 best = 0, rivals = 0;
    while (best < n - 1 && w->bound[best] != top) best++;
    w->value[best] = exact_score(p, r, w->latent[best]);
    w->moved[best] = moved;
    for (i64 c = 0; c < n; c++) {
        w->rival[rivals] = (int32_t)c;
        rivals += w->bound[c] >= w->value[best] && c != best;
    }
    for (i64 i = -AHEAD; i < rivals; i++) {
        if (i + AHEAD < rivals) prefetch_row(p, w->latent[w->rival[i + AHEAD]]);
        if (i < 0) continue;
        i64 c = w->rival[i];
        if (!(w->bound[c] >= w->value[best])) continue;
        w->value[c] = exact_score(p, r, w->latent[c]);
        w->moved[c] = moved;
        int tie_won = w->value[c] == w->value[best] && w->latent[c] < w->latent[best];
        if (w->value[c] > w->value[best] || tie_won) best = c;
    }
    return best;
}

static float squared_distance(const float *a, const float *b, i64 n) {
    float sum = 0;
    for (i64 i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Keys by which latents are shortlisted: where a score may be once the residual has moved by `expected`. Those that may
 * be the best right now get the highest key there is. */
static void make_keys(const Problem *p, i64 row, Scratch *w, float norm, float *expected) {
    i64 padded = round_up(p->M);
    float best = largest(w->score, padded);
    float margin = error_bound(p, row, norm, best, p->largest_reach, p->largest_grain);
    float ahead = 3 * fmaxf(best, 0), near = best - 2 * margin, highest = best + ahead * p->largest_reach;
    for (i64 m = 0; m < p->M; m++) {
        float key = w->score[m] + ahead * p->reach[m];
        w->key[m] = w->score[m] >= near ? highest : key;
    }
    for (i64 m = p->M; m < padded; m++) w->key[m] = NEVER;
    *expected = ahead;
}

/* Steps of one token for as long as its shortlist certainly holds the best latent. */
static void pursue_by_screening(const Problem *p, i64 row, Scratch *w) {
    i64 token = p->tokens[row], D = p->D, step = p->steps[token];
    float *r = p->residual + token * D;
    i64 *chosen = p->indices + token * p->K;
    float norm = sqrtf(dot(r, r, D)), expected, rest, moved = 0, distance = 0, squares = 0;
    if (!read_scores(p, row, w)) {
        stop(p, token, step, 0, NAN);
        return;
    }
    if (!p->repeats)
        for (i64 i = 0; i < step; i++) w->score[chosen[i]] = NEVER;
    make_keys(p, row, w, norm, &expected);
    find_block_maxima(w, w->key, round_up(p->M));
    rest = cut_for(w->block, count_blocks(p), p->shortlist_blocks);
    i64 n = collect(p, w, w->key, rest);
    for (i64 c = 0; c < n; c++) {
        i64 m = w->latent[c];
        w->slack[c] = p->reach[m];
        w->value[c] = w->score[m] + error_bound(p, row, norm, w->score[m], p->reach[m], grain_of(p, m));
        w->moved[c] = 0;
    }
    memcpy(w->start, r, sizeof(float) * (size_t)D);
    for (int first = 1; step < p->K; first = 0) {
        if (n == 0 || (p->threshold > 0 && sqrtf(dot(r, r, D)) <= p->threshold)) {
            stop(p, token, step, 0, 0);
            return;
        }
        float rate = squares > 0 ? fmaxf(1, distance / squares) : 1;
        i64 best = choose(p, w, n, r, moved, rate);
        float ahead = distance_moved(p, moved, 0, rate) - expected;
        float others = rest + ahead * (ahead > 0 ? p->largest_reach : p->least_reach);
        if (!first && !(w->value[best] >= others)) break;
        i64 j = w->latent[best];
        float a = w->value[best];
        if (!(a > 0)) {
            stop(p, token, step, j, 0);
            return;
        }
        float square = subtract(r, a, p->W_dec + step * p->decoder_stride + j * D, D);
        squares += square;
        moved += p->exact_bounds ? sqrtf(square) : square * p->spread[j];
        distance = squared_distance(r, w->start, D);
        p->acts[token * p->K + step] = a;
        chosen[step++] = j;
        if (p->repeats) {
            w->value[best] = -NEVER; /* must be scored again */
        } else {
            n--;
            w->latent[best] = w->latent[n];
            w->value[best] = w->value[n];
            w->moved[best] = w->moved[n];
            w->slack[best] = w->slack[n];
        }
    }
    p->steps[token] = step;
}

/* Carry each of the T tokens as many steps as its approximate scores allow, at least one. */
int pursue_round(const Problem *p) { return for_each_token(p, pursue_by_screening); }
