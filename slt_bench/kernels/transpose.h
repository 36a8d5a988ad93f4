/* Between rows in memory, one sample each, and lanes. */
#ifndef SLT_TRANSPOSE_H
#define SLT_TRANSPOSE_H
#include "lanes.h"

#if defined(__GNUC__) && !defined(__clang__) && !defined(SLT_DOUBLE)
/* Transpose LANES vectors in place: swap bit s of row and column, for each power of two s. */
INLINE void transpose(vec *v) {
#pragma GCC unroll 4
    for (int s = 1; s < LANES; s *= 2) {
        ivec low, high;
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) {
            low[j] = j & s ? LANES + j - s : j;
            high[j] = j & s ? LANES + j : j + s;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & s) continue;
            vec a = v[i], b = v[i + s];
            v[i] = __builtin_shuffle(a, b, low);
            v[i + s] = __builtin_shuffle(a, b, high);
        }
    }
}
#else
INLINE void transpose(vec *v) {
    vec t[LANES];
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) t[j][i] = v[i][j];
    memcpy(v, t, sizeof t);
}
#endif

/* One block from `rows` <= LANES rows of n numbers, `stride` apart. The lanes that are left over
 * repeat the last row (so that they overflow only where it does) or, for gradients, are zero. */
INLINE void rows_to_lanes(int64_t rows, int64_t n, const real *x, int64_t stride, int zero_fill,
                          vec *y) {
    int64_t i = 0;
    vec tile[LANES];
    for (; i + LANES <= n; i += LANES) {
        for (int64_t l = 0; l < LANES; l++)
            if (l < rows || !zero_fill)
                memcpy(&tile[l], x + (l < rows ? l : rows - 1) * stride + i, sizeof(vec));
            else
                tile[l] = (vec){0};
        transpose(tile);
        memcpy(y + i, tile, sizeof tile);
    }
    for (; i < n; i++)
        for (int64_t l = 0; l < LANES; l++)
            y[i][l] = l < rows ? x[l * stride + i] : zero_fill ? 0 : x[(rows - 1) * stride + i];
}

/* The other way; `bias` (n numbers) is added where it is not NULL. */
INLINE void lanes_to_rows(int64_t rows, int64_t n, const vec *x, const real *bias, real *y,
                          int64_t stride) {
    int64_t i = 0;
    vec tile[LANES];
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) tile[j] = bias ? x[i + j] + bias[i + j] : x[i + j];
        transpose(tile);
        for (int64_t l = 0; l < rows; l++) memcpy(y + l * stride + i, &tile[l], sizeof(vec));
    }
    for (; i < n; i++)
        for (int64_t l = 0; l < rows; l++) y[l * stride + i] = x[i][l] + (bias ? bias[i] : 0);
}

/* Sum over lanes. */
INLINE void reduce(int64_t n, const vec *x, real *y) {
    int64_t i = 0;
    vec tile[LANES];
    for (; i + LANES <= n; i += LANES) {
        memcpy(tile, x + i, sizeof tile);
        transpose(tile);
        vec sum = tile[0];
        for (int j = 1; j < LANES; j++) sum += tile[j];
        memcpy(y + i, &sum, sizeof sum);
    }
    for (; i < n; i++) {
        real sum = 0;
        for (int l = 0; l < LANES; l++) sum += x[i][l];
        y[i] = sum;
    }
}

#endif
