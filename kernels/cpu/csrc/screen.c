/* Matching pursuit that takes all scores only now and then: kernels.cpu.compiled.select_by_screening. */
#include "select.h"

#define AHEAD 3 /* rows on their way from memory while one is used */

/* How far the residual has gone after `movement`, which is a path's length where bounds must hold for every direction, else
 * a sum of squares weighted by `spread`: steps are taken for orthogonal, and `rate` makes up for those that are not. */
static float way(const Problem *p, float movement, float rate) {
    return p->exact_bounds ? movement : sqrtf(rate * movement);
}

static void prefetch_row(const Problem *p, i64 m) {
    for (i64 d = 0; d < p->D; d += LANES) __builtin_prefetch(p->W_enc + m * p->D + d);
}

/* Position in the shortlist of the best score at residual r, which has just moved by `movement`, exact; ties go to the
 * lowest latent. Scores that cannot have become the best are left as they are. Each keeps the movement since it was taken:
 * in a difference of two totals, small movements would vanish beside earlier large ones. */
static i64 choose(const Problem *p, Scratch *w, i64 n, const float *r, float movement, float rate) {
    for (i64 c = 0; c < n; c++) {
        w->moved[c] += movement;
        w->bound[c] = w->value[c] + w->slack[c] * way(p, w->moved[c], rate);
    }
    float top = largest(w->bound, n);
    i64 best = 0, rivals = 0;
    while (best < n - 1 && w->bound[best] != top) best++;
    w->value[best] = exact_score(p, r, w->latent[best]);
    w->moved[best] = 0;
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
        w->moved[c] = 0;
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

/* By how much a score may be more than its approximation, per unit of reach, once the residual has gone `way`: movement
 * and error do not know of each other. */
static float slack_of(const Problem *p, float way, float error) {
    return p->exact_bounds ? way + error : sqrtf(way * way + error * error);
}

/* Keys by which latents are shortlisted: the most a score can be with `slack`, but for what `Error` charges per score. Those
 * that may be the best right now get the highest key there is. */
static void make_keys(const Problem *p, Scratch *w, Error error, float best, float slack) {
    const float *score = w->score, *reach = p->reach;
    float near = best - 2 * error_bound(error, best, p->largest_reach, p->largest_grain);
    float highest = best + slack * p->largest_reach, *key = w->key;
    for (i64 m = 0; m < p->M; m++) {
        float most = score[m] + slack * reach[m];
        key[m] = score[m] >= near ? highest : most;
        key[m] = score[m] > NEVER / 2 ? key[m] : NEVER;
    }
    for (i64 m = p->M; m < round_up(p->M); m++) key[m] = NEVER;
}

/* Steps of one token for as long as its shortlist certainly holds the best latent. */
static void pursue_by_screening(const Problem *p, i64 row, Scratch *w) {
    i64 token = p->tokens[row], D = p->D, step = p->steps[token];
    float *r = p->residual + token * D;
    i64 *chosen = p->indices + token * p->K;
    float norm = sqrtf(dot(r, r, D)), distance = 0, squares = 0, moved = 0, movement = 0;
    if (!read_scores(p, row, w)) {
        give_up(p, token, step);
        return;
    }
    Error error = error_of_token(p, row, norm);
    if (!p->repeats)
        for (i64 i = 0; i < step; i++) w->score[chosen[i]] = NEVER;
    if (p->excluded) w->score[p->excluded[token]] = NEVER;
    float best_score = largest(w->score, p->M), ahead = 3 * fmaxf(best_score, 0);
    float unsure = error.per_grain * p->largest_grain_share + error.per_reach, expected = slack_of(p, ahead, unsure);
    make_keys(p, w, error, best_score, expected);
    find_block_maxima(w, w->key, round_up(p->M));
    float cut = cut_for(w->block, count_blocks(p), p->shortlist_blocks);
    float rest = cut + error.per_score * (fmaxf(best_score, 0) + error.bias);
    i64 n = collect(p, w, w->key, cut);
    for (i64 c = 0; c < n; c++) {
        i64 m = w->latent[c];
        w->slack[c] = p->reach[m];
        w->value[c] = w->score[m] + error_bound(error, w->score[m], p->reach[m], grains(p)[m]);
        w->moved[c] = 0;
    }
    memcpy(w->start, r, sizeof(float) * (size_t)D);
    for (int first = 1; step < p->K; first = 0) {
        if (n == 0 && !first) break; /* the shortlist is used up, others are left */
        if (n == 0 || (p->threshold > 0 && sqrtf(dot(r, r, D)) <= p->threshold)) {
            stop(p, token, step, 0);
            return;
        }
        float rate = squares > 0 ? fmaxf(1, distance / squares) : 1;
        i64 best = choose(p, w, n, r, movement, rate);
        float more = slack_of(p, way(p, moved, rate), unsure) - expected;
        float others = rest + more * (more > 0 ? p->largest_reach : p->least_reach);
        if (!first && !(w->value[best] >= others)) break;
        i64 j = w->latent[best];
        float a = w->value[best];
        if (!(a > 0)) {
            stop(p, token, step, j);
            return;
        }
        float square = subtract(r, a, p->W_dec + step * p->decoder_stride + j * D, D);
        squares += square;
        movement = p->exact_bounds ? sqrtf(square) : square * p->spread[j];
        moved += movement;
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
