/* Scattered outer products and gathered dot products, shared by the backward passes of TopK and sparse decode. */
#include "columns.h"

/* out[indices[b, i]] += values[b, i] rows[b], [M, D]; threads share out columns. */
int add_outer(float *out, const i64 *indices, const float *values, const float *rows, i64 B, i64 K, i64 D) {
#pragma omp parallel
    {
        i64 first, n;
        own_columns(D, &first, &n);
        for (i64 b = 0; n > 0 && b < B; b++)
            for (i64 i = 0; i < K; i++)
                if (values[b * K + i] != 0)
                    add_scaled(out + indices[b * K + i] * D + first, values[b * K + i], rows + b * D + first, n);
    }
    return 1;
}

/* out[b, i] = <weight[indices[b, i]], rows[b]> */
int row_products(float *out, const float *rows, const i64 *indices, const float *weight, i64 B, i64 K, i64 D) {
#pragma omp parallel for schedule(static)
    for (i64 b = 0; b < B; b++)
        for (i64 i = 0; i < K; i++) out[b * K + i] = dot(weight + indices[b * K + i] * D, rows + b * D, D);
    return 1;
}
