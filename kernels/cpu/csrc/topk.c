/* The K best latents of a token: approximate scores find candidates, exact ones decide. */
#include "select.h"

typedef struct {
    float value;
    int32_t latent;
} Scored;

static int descending(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static void best_k(const Problem *p, i64 row, Scratch *w) {
    i64 token = p->tokens[row];
    const float *x = p->residual + token * p->D;
    float norm = sqrtf(dot(x, x, p->D));
    if (!read_scores(p, row, w)) {
        give_up(p, token, 0);
        return;
    }
    find_block_maxima(w, w->score, round_up(p->M));
    float cut = cut_for(w->block, count_blocks(p), p->K);
    float margin = error_bound(error_of_token(p, row, norm), 2 * fabsf(cut), p->largest_reach, p->largest_grain);
    i64 n = collect(p, w, w->score, cut - 2 * margin);
    if (n < p->K) n = collect(p, w, w->score, 4 * NEVER); /* where few may be chosen, others fill up */
    Scored *scored = (Scored *)w->value; /* value and moved lie side by side: room for M pairs */
    for (i64 i = 0; i < n; i++) scored[i] = (Scored){exact_score(p, x, w->latent[i]), w->latent[i]};
    qsort(scored, (size_t)n, sizeof(Scored), descending);
    for (i64 i = 0; i < p->K; i++) {
        p->acts[token * p->K + i] = fmaxf(scored[i].value, 0);
        p->indices[token * p->K + i] = scored[i].latent;
    }
}

/* The K best latents of each of the T tokens, best first, rectified. K must not exceed M / LANES. */
int topk_round(const Problem *p) { return for_each_token(p, best_k); }
