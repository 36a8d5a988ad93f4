/* The low-rank map, forward and backward, in lanes (see lanes.h): it is worth having inside a
 * sequence, where a call of torch a step costs more than the arithmetic.
 *
 * sizes: in, out, rank. parameters: U (out, rank), V (rank, in). Scratch: 2 rank vectors.
 */
#include "lanes.h"

#define TILE 8

/* t = M x for M (rows, columns) with M[i, j] at m[i * row + j * column] */
INLINE void times_tile(int tile, int64_t columns, const real *m, int64_t row, int64_t column,
                       const vec *x, vec *t) {
    vec sum[TILE];
#pragma GCC unroll 8
    for (int i = 0; i < tile; i++) sum[i] = (vec){0};
    for (int64_t j = 0; j < columns; j++)
#pragma GCC unroll 8
        for (int i = 0; i < tile; i++) sum[i] += m[i * row + j * column] * x[j];
#pragma GCC unroll 8
    for (int i = 0; i < tile; i++) t[i] = sum[i];
}

static void times(int64_t rows, int64_t columns, const real *m, int64_t row, int64_t column,
                  const vec *x, vec *t) {
    int64_t i = 0;
    for (; i + TILE <= rows; i += TILE)
        times_tile(TILE, columns, m + i * row, row, column, x, t + i);
    for (; i < rows; i++) times_tile(1, columns, m + i * row, row, column, x, t + i);
}

EXPORT void low_rank_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    int64_t in = map->sizes[0], out = map->sizes[1], rank = map->sizes[2];
    const real *u = map->parameters[0], *v = map->parameters[1];
    for (int64_t block = 0; block < blocks; block++, x += in, y += out) {
        times(rank, in, v, in, 1, x, map->scratch);
        times(out, rank, u, rank, 1, map->scratch, y);
    }
}

EXPORT void low_rank_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                              vec *dx) {
    int64_t in = map->sizes[0], out = map->sizes[1], rank = map->sizes[2];
    const real *u = map->parameters[0], *v = map->parameters[1];
    vec *t = map->scratch, *dt = t + rank, *du = map->gradients, *dv = du + out * rank;
    for (int64_t block = 0; block < blocks; block++, x += in, dy += out, dx += in) {
        times(rank, in, v, in, 1, x, t);
        times(rank, out, u, 1, rank, dy, dt);
        times(in, rank, v, 1, in, dt, dx);
        for (int64_t i = 0; i < out; i++)
            for (int64_t k = 0; k < rank; k++) du[i * rank + k] += dy[i] * t[k];
        for (int64_t k = 0; k < rank; k++)
            for (int64_t j = 0; j < in; j++) dv[k * in + j] += dt[k] * x[j];
    }
}
