/* A layer by its kernel: in and out of lanes around it. */
#include "lanes.h"
#include "transpose.h"

EXPORT void slt_lanes(int64_t *lanes) { *lanes = LANES; }

EXPORT void slt_reduce(int64_t n, const vec *x, real *y) { reduce(n, x, y); }

/* y (rows, out) = map(x (rows, in)) + bias. `work` has in + out vectors. */
EXPORT void slt_layer_forward(slt_map *map, slt_forward forward, int64_t rows, int64_t in,
                              int64_t out, const real *x, const real *bias, real *y, vec *work) {
    for (int64_t row = 0; row < rows; row += LANES) {
        int64_t here = rows - row < LANES ? rows - row : LANES;
        rows_to_lanes(here, in, x + row * in, in, 0, work);
        map->rows = here;
        forward(map, 1, work, work + in);
        lanes_to_rows(here, out, work + in, bias, y + row * out, out);
    }
}

/* dx (rows, in), map->gradients and, where not NULL, dbias (out vectors, added to).
 * `work` has 2 in + out vectors. */
EXPORT void slt_layer_backward(slt_map *map, slt_backward backward, int64_t rows, int64_t in,
                               int64_t out, const real *x, const real *dy, real *dx, vec *dbias,
                               vec *work) {
    vec *lanes_x = work, *lanes_dx = work + in, *lanes_dy = work + 2 * in;
    for (int64_t row = 0; row < rows; row += LANES) {
        int64_t here = rows - row < LANES ? rows - row : LANES;
        rows_to_lanes(here, in, x + row * in, in, 0, lanes_x);
        rows_to_lanes(here, out, dy + row * out, out, 1, lanes_dy);
        if (dbias)
            for (int64_t i = 0; i < out; i++) dbias[i] += lanes_dy[i];
        map->rows = here;
        backward(map, 1, lanes_x, lanes_dy, lanes_dx);
        if (dx) lanes_to_rows(here, in, lanes_dx, 0, dx + row * in, in);
    }
}
