/* Maps that do not mix features, in lanes (see lanes.h): zero, identity, diagonal.
 *
 * sizes: in, out. parameters: of diagonal, one factor for each feature that both have.
 */
#include "lanes.h"

/* y[i] = factor[i] x[i] as far as both go, zero beyond; a NULL factor is one. */
static void scale(int64_t blocks, int64_t from, int64_t to, const real *factor, const vec *x,
                  vec *y) {
    int64_t both = from < to ? from : to;
    for (int64_t block = 0; block < blocks; block++, x += from, y += to) {
        for (int64_t i = 0; i < both; i++) y[i] = factor ? factor[i] * x[i] : x[i];
        for (int64_t i = both; i < to; i++) y[i] = (vec){0};
    }
}

EXPORT void zero_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    (void)x;
    memset(y, 0, blocks * map->sizes[1] * sizeof(vec));
}

EXPORT void zero_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                          vec *dx) {
    (void)x, (void)dy;
    memset(dx, 0, blocks * map->sizes[0] * sizeof(vec));
}

EXPORT void identity_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    scale(blocks, map->sizes[0], map->sizes[1], 0, x, y);
}

EXPORT void identity_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                              vec *dx) {
    (void)x;
    scale(blocks, map->sizes[1], map->sizes[0], 0, dy, dx);
}

EXPORT void diagonal_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    scale(blocks, map->sizes[0], map->sizes[1], map->parameters[0], x, y);
}

EXPORT void diagonal_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                              vec *dx) {
    int64_t in = map->sizes[0], out = map->sizes[1], both = in < out ? in : out;
    scale(blocks, out, in, map->parameters[0], dy, dx);
    for (int64_t block = 0; block < blocks; block++, x += in, dy += out)
        for (int64_t i = 0; i < both; i++) map->gradients[i] += x[i] * dy[i];
}
