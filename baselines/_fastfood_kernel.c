/* The Fastfood layer, forward and backward, in lanes (see lanes.h).
 *
 * sizes: in, out, squares, blocks, n (a power of two, at least in).
 * parameters: S, G, B, each (squares, n). constants: the permutation of all squares, one index.
 */
#include "lanes.h"

typedef struct {
    int64_t in, out, squares, blocks, n, stack;
    const real *s, *g, *b;
    vec *first, *second, *third; /* n vectors each */
} layer;

static layer open_layer(const slt_map *map) {
    const int64_t *z = map->sizes;
    layer l = {z[0], z[1], z[2], z[3], z[4], z[2] / z[3], map->parameters[0], map->parameters[1],
               map->parameters[2], map->scratch, map->scratch + z[4], map->scratch + 2 * z[4]};
    if (map->mask) {
        int64_t count = l.squares * l.n;
        const real **vectors[] = {&l.s, &l.g, &l.b};
        real *to = (real *)(map->scratch + 3 * l.n);
        for (int which = 0; which < 3; which++, to += count) {
            const real *from = *vectors[which], *mask = map->mask + which * count;
            for (int64_t i = 0; i < count; i++) to[i] = from[i] * mask[i];
            *vectors[which] = to;
        }
    }
    return l;
}

/* `radix` = 2^k rows, `stride` apart: k stages of the transform while they are in registers. */
INLINE void butterfly(int radix, vec *x, int64_t stride) {
    vec v[16];
#pragma GCC unroll 16
    for (int i = 0; i < radix; i++) v[i] = x[i * stride];
#pragma GCC unroll 4
    for (int half = 1; half < radix; half *= 2)
#pragma GCC unroll 16
        for (int i = 0; i < radix; i++)
            if (!(i & half)) {
                vec a = v[i], b = v[i + half];
                v[i] = a + b, v[i + half] = a - b;
            }
#pragma GCC unroll 16
    for (int i = 0; i < radix; i++) x[i * stride] = v[i];
}

#define PASS(radix)                                                                 \
    for (int64_t start = 0; start < n; start += (radix) * stride)                   \
        for (int64_t i = 0; i < stride; i++) butterfly(radix, x + start + i, stride); \
    stride *= (radix)

/* Hadamard transform times sqrt(n), in place. */
static void hadamard(int64_t n, vec *x) {
    int64_t stride = 1;
    while (n / stride >= 16) {
        PASS(16);
    }
    switch (n / stride) {
        case 8: PASS(8); break;
        case 4: PASS(4); break;
        case 2: PASS(2); break;
    }
}

/* What lies behind G, S H still missing, in l->second; H B x in l->first. */
static void upto_g(const slt_map *map, const layer *l, int64_t square, const vec *x) {
    int64_t n = l->n, offset = square * n;
    const int64_t *permutation = map->constants[0] + offset;
    const real *b = l->b + offset, *g = l->g + offset;
    for (int64_t i = 0; i < l->in; i++) l->first[i] = b[i] * x[i];
    for (int64_t i = l->in; i < n; i++) l->first[i] = (vec){0};
    hadamard(n, l->first);
    real scale = (real)1 / n; /* that of both transforms */
    for (int64_t i = 0; i < n; i++)
        l->second[i] = (g[i] * scale) * l->first[permutation[i] - offset];
}

/* The rows of the output that a square makes: `count` from `start` on. */
INLINE int64_t rows_of(const layer *l, int64_t square, int64_t *start) {
    *start = square % l->stack * l->n;
    return l->out - *start < l->n ? l->out - *start : l->n;
}

EXPORT void fastfood_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    layer l = open_layer(map);
    for (int64_t block = 0; block < blocks; block++, x += l.in, y += l.out)
        for (int64_t square = 0; square < l.squares; square++) {
            int64_t start, count = rows_of(&l, square, &start);
            const real *s = l.s + square * l.n;
            upto_g(map, &l, square, x);
            hadamard(l.n, l.second);
            if (square < l.stack)
                for (int64_t i = 0; i < count; i++) y[start + i] = s[i] * l.second[i];
            else
                for (int64_t i = 0; i < count; i++) y[start + i] += s[i] * l.second[i];
        }
}

/* A gradient that passes the mask, if there is one. */
INLINE void add_gradient(const slt_map *map, int64_t index, vec value) {
    map->gradients[index] += map->mask ? map->mask[index] * value : value;
}

EXPORT void fastfood_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                              vec *dx) {
    layer l = open_layer(map);
    int64_t n = l.n, total = l.squares * n;
    real scale = (real)1 / n;
    for (int64_t block = 0; block < blocks; block++, x += l.in, dy += l.out, dx += l.in)
        for (int64_t square = 0; square < l.squares; square++) {
            int64_t start, count = rows_of(&l, square, &start), offset = square * n;
            const int64_t *permutation = map->constants[0] + offset;
            const real *s = l.s + offset, *g = l.g + offset, *b = l.b + offset;
            vec *d = l.third;
            upto_g(map, &l, square, x);
            hadamard(n, l.second);
            for (int64_t i = 0; i < count; i++) {
                add_gradient(map, offset + i, dy[start + i] * l.second[i]);
                d[i] = s[i] * dy[start + i];
            }
            for (int64_t i = count; i < n; i++) d[i] = (vec){0};
            hadamard(n, d);
            for (int64_t i = 0; i < n; i++) {
                int64_t from = permutation[i] - offset;
                vec outer = scale * d[i];
                add_gradient(map, total + offset + i, outer * l.first[from]);
                l.second[from] = g[i] * outer;
            }
            hadamard(n, l.second);
            for (int64_t i = 0; i < l.in; i++) {
                add_gradient(map, 2 * total + offset + i, x[i] * l.second[i]);
                dx[i] = square ? dx[i] + b[i] * l.second[i] : b[i] * l.second[i];
            }
        }
}
