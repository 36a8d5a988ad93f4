/* The wavelet layer with zero padding, forward and backward, in lanes (see lanes.h).
 *
 * With any two filters w0, w1 of even length L both directions of the transform are two routines:
 *   down:  lo[k] = sum_m w0[m] x[2k + 2 - L + m], hi[k] likewise with w1;
 *   up:    y[i] = sum_k w0[i - 2k + L - 2] lo[k] + w1[i - 2k + L - 2] hi[k].
 * Analysis is `down` with the reversed filters and its adjoint `up` with the same; synthesis is
 * `up` and its adjoint `down`. The gradient of all four filters is the correlation of coefficients
 * with the signal in the window of `down`. Signals lie between margins of zeros.
 *
 * sizes: n, out, squares, blocks, L, scales, coefficients, legacy, then the length of each scale.
 * parameters: filters (4, L), d (squares, n), g (squares, coefficients), b (squares, n).
 * constants: the permutation of all squares' coefficients, one index; and, where `legacy`, which of
 * the scaled coefficients synthesis reads (without it, each one once).
 */
#include "lanes.h"

#define MAX_TAPS 128
#define MAX_SCALES 64

typedef struct {
    int64_t n, out, squares, blocks, taps, scales, coefficients, legacy;
    const int64_t *lengths;
} shape;

INLINE shape shape_of(const slt_map *map) {
    const int64_t *s = map->sizes;
    return (shape){s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s + 8};
}

/* Parts of scratch. Every signal has L vectors of zeros before it and L + 1 behind. */
typedef struct {
    vec *signals[MAX_SCALES + 1]; /* what analysis sees at each level; [0] is B x */
    vec *restored[MAX_SCALES + 1]; /* what synthesis makes at each level */
    vec *analysed, *scaled;       /* coefficients before and after G and the permutation */
    vec *d_signal[2], *d_analysed, *d_scaled;
    real *d, *g, *b;              /* with this step's mask */
} parts;

INLINE vec *signal_at(vec **next, int64_t length, int64_t taps) {
    vec *first = *next + taps;
    for (int64_t i = 1; i <= taps; i++) first[-i] = (vec){0};
    for (int64_t i = 0; i <= taps; i++) first[length + i] = (vec){0};
    *next = first + length + taps + 1;
    return first;
}

static parts lay_out(const slt_map *map, const shape *s, int with_backward) {
    parts p;
    vec *next = map->scratch;
    for (int64_t level = 0; level < s->scales; level++)
        p.signals[level] = signal_at(&next, level ? s->lengths[level - 1] : s->n, s->taps);
    p.analysed = next, next += s->coefficients;
    p.scaled = next, next += s->coefficients;
    p.signals[s->scales] = p.analysed + s->coefficients - s->lengths[s->scales - 1];
    p.restored[s->scales] = p.scaled + s->coefficients - s->lengths[s->scales - 1];
    for (int64_t level = 0; level < s->scales; level++)
        p.restored[level] = next, next += (level ? s->lengths[level - 1] : s->n) + 1;
    p.d = (real *)map->parameters[1], p.g = (real *)map->parameters[2];
    p.b = (real *)map->parameters[3];
    if (with_backward) {
        p.d_signal[0] = next, next += s->n + 3 * s->taps + 2;
        p.d_signal[1] = next, next += s->n + 3 * s->taps + 2;
        p.d_analysed = next, next += s->coefficients;
        p.d_scaled = next, next += s->coefficients;
    }
    if (map->mask) {
        int64_t count[3] = {s->squares * s->n, s->squares * s->coefficients, s->squares * s->n};
        const real *mask = map->mask + 4 * s->taps;
        real *to = (real *)next, *masked[3];
        for (int which = 0; which < 3; which++) {
            masked[which] = to;
            for (int64_t i = 0; i < count[which]; i++)
                to[i] = map->parameters[1 + which][i] * mask[i];
            to += count[which], mask += count[which];
        }
        p.d = masked[0], p.g = masked[1], p.b = masked[2];
    }
    return p;
}

INLINE void down(int L, const vec *x, int64_t length, const real *w0, const real *w1, vec *lo,
                 vec *hi) {
    for (int64_t k = 0; k < length; k++) {
        const vec *window = x + 2 * k + 2 - L;
        vec a = w0[0] * window[0], b = w1[0] * window[0];
        for (int m = 1; m < L; m++) a += w0[m] * window[m], b += w1[m] * window[m];
        lo[k] = a, hi[k] = b;
    }
}

/* 2 length - L + 2 numbers */
INLINE void up(int L, const vec *lo, const vec *hi, int64_t length, const real *w0,
               const real *w1, vec *y) {
    for (int64_t p = 0; p < length - L / 2 + 1; p++) {
        vec even = {0}, odd = {0};
        for (int q = 0; q < L / 2; q++) {
            vec a = lo[p + q], b = hi[p + q];
            even += w0[L - 2 - 2 * q] * a + w1[L - 2 - 2 * q] * b;
            odd += w0[L - 1 - 2 * q] * a + w1[L - 1 - 2 * q] * b;
        }
        y[2 * p] = even, y[2 * p + 1] = odd;
    }
}

/* d0[m] += sum_k lo[k] x[2k + 2 - L + m], d1 likewise with hi */
INLINE void correlate(int L, const vec *x, int64_t length, const vec *lo, const vec *hi, vec *d0,
                      vec *d1) {
    vec s0[L], s1[L];
    for (int m = 0; m < L; m++) s0[m] = d0[m], s1[m] = d1[m];
    for (int64_t k = 0; k < length; k++) {
        const vec *window = x + 2 * k + 2 - L;
        vec a = lo[k], b = hi[k];
        for (int m = 0; m < L; m++) s0[m] += a * window[m], s1[m] += b * window[m];
    }
    for (int m = 0; m < L; m++) d0[m] = s0[m], d1[m] = s1[m];
}

/* Analysis, permutation, G and synthesis of one square, for one block. */
INLINE void transform(int L, const slt_map *map, const shape *s, const parts *p, int64_t square,
                      const vec *x) {
    const real *filters = map->parameters[0], *b = p->b + square * s->n;
    real reversed[2 * MAX_TAPS];
    for (int m = 0; m < L; m++) {
        reversed[m] = filters[L - 1 - m];
        reversed[L + m] = filters[2 * L - 1 - m];
    }
    for (int64_t i = 0; i < s->n; i++) p->signals[0][i] = b[i] * x[i];
    vec *details = p->analysed;
    for (int64_t level = 0; level < s->scales; level++) {
        int64_t length = s->lengths[level];
        down(L, p->signals[level], length, reversed, reversed + L, p->signals[level + 1], details);
        details += length;
    }
    const int64_t first = square * s->coefficients, *source = map->constants[0] + first;
    const int64_t *order = s->legacy ? map->constants[1] : 0;
    const real *g = p->g + first;
    for (int64_t i = 0; i < s->coefficients; i++) {
        int64_t entry = order ? order[i] : i;
        p->scaled[i] = g[entry] * p->analysed[source[entry] - first];
    }
    details = p->scaled + s->coefficients - s->lengths[s->scales - 1];
    for (int64_t level = s->scales - 1; level >= 0; level--) {
        int64_t length = s->lengths[level];
        details -= length;
        up(L, p->restored[level + 1], details, length, filters + 2 * L, filters + 3 * L,
           p->restored[level]);
    }
}

INLINE void forward(int L, const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    shape s = shape_of(map);
    parts p = lay_out(map, &s, 0);
    int64_t stack = s.squares / s.blocks;
    for (int64_t block = 0; block < blocks; block++, x += s.n, y += s.out)
        for (int64_t square = 0; square < s.squares; square++) {
            transform(L, map, &s, &p, square, x);
            int64_t start = square % stack * s.n;
            int64_t count = s.out - start < s.n ? s.out - start : s.n;
            const real *d = p.d + square * s.n;
            if (square < stack)
                for (int64_t i = 0; i < count; i++) y[start + i] = d[i] * p.restored[0][i];
            else
                for (int64_t i = 0; i < count; i++) y[start + i] += d[i] * p.restored[0][i];
        }
}

/* A gradient that passes the mask, if there is one. */
INLINE void add_gradient(const slt_map *map, int64_t index, vec value) {
    map->gradients[index] += map->mask ? map->mask[index] * value : value;
}

INLINE void backward(int L, const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                     vec *dx) {
    shape s = shape_of(map);
    parts p = lay_out(map, &s, 1);
    const real *filters = map->parameters[0];
    int64_t stack = s.squares / s.blocks, first_d = 4 * L;
    int64_t first_g = first_d + s.squares * s.n;
    int64_t first_b = first_g + s.squares * s.coefficients;
    real reversed[2 * MAX_TAPS];
    vec d_reversed[2 * MAX_TAPS];
    for (int m = 0; m < L; m++) {
        reversed[m] = filters[L - 1 - m];
        reversed[L + m] = filters[2 * L - 1 - m];
    }
    for (int m = 0; m < 2 * L; m++) d_reversed[m] = (vec){0};
    for (int64_t block = 0; block < blocks; block++, x += s.n, dy += s.out, dx += s.n)
        for (int64_t square = 0; square < s.squares; square++) {
            transform(L, map, &s, &p, square, x);

            /* D: from here on the gradients of signals, between margins, in two places in turns */
            int64_t start = square % stack * s.n;
            int64_t count = s.out - start < s.n ? s.out - start : s.n;
            const real *d = p.d + square * s.n;
            vec *next = p.d_signal[0];
            vec *d_signal = signal_at(&next, s.n, L);
            for (int64_t i = 0; i < count; i++) {
                d_signal[i] = d[i] * dy[start + i];
                add_gradient(map, first_d + square * s.n + i, dy[start + i] * p.restored[0][i]);
            }
            for (int64_t i = count; i < s.n; i++) d_signal[i] = (vec){0};

            /* synthesis */
            vec *details = p.scaled, *d_details = p.d_scaled;
            for (int64_t level = 0; level < s.scales; level++) {
                int64_t length = s.lengths[level];
                vec *d_lower;
                if (level + 1 < s.scales) {
                    next = p.d_signal[(level + 1) % 2];
                    d_lower = signal_at(&next, length, L);
                } else {
                    d_lower = p.d_scaled + s.coefficients - length;
                }
                down(L, d_signal, length, filters + 2 * L, filters + 3 * L, d_lower, d_details);
                correlate(L, d_signal, length, p.restored[level + 1], details,
                          map->gradients + 2 * L, map->gradients + 3 * L);
                d_signal = d_lower;
                details += length, d_details += length;
            }

            /* G and the permutation */
            const int64_t first = square * s.coefficients, *source = map->constants[0] + first;
            const int64_t *order = s.legacy ? map->constants[1] : 0;
            const real *g = p.g + first;
            if (order) memset(p.d_analysed, 0, s.coefficients * sizeof(vec));
            for (int64_t i = 0; i < s.coefficients; i++) {
                int64_t entry = order ? order[i] : i, from = source[entry] - first;
                vec outer = p.d_scaled[i];
                add_gradient(map, first_g + first + entry, outer * p.analysed[from]);
                p.d_analysed[from] = order ? p.d_analysed[from] + g[entry] * outer
                                           : g[entry] * outer;
            }

            /* analysis; its signals' gradients need no margins */
            const vec *d_upper = p.d_analysed + s.coefficients - s.lengths[s.scales - 1];
            d_details = p.d_analysed + s.coefficients - s.lengths[s.scales - 1];
            for (int64_t level = s.scales - 1; level >= 0; level--) {
                int64_t length = s.lengths[level];
                d_details -= length;
                correlate(L, p.signals[level], length, d_upper, d_details, d_reversed,
                          d_reversed + L);
                up(L, d_upper, d_details, length, reversed, reversed + L, p.d_signal[level % 2]);
                d_upper = p.d_signal[level % 2];
            }

            /* B */
            const real *b = p.b + square * s.n;
            for (int64_t i = 0; i < s.n; i++) {
                add_gradient(map, first_b + square * s.n + i, x[i] * d_upper[i]);
                dx[i] = square ? dx[i] + b[i] * d_upper[i] : b[i] * d_upper[i];
            }
        }
    for (int m = 0; m < L; m++) {
        map->gradients[L - 1 - m] += d_reversed[m];
        map->gradients[2 * L - 1 - m] += d_reversed[L + m];
    }
}

/* The usual lengths are known to the compiler, so that the filters stay in registers. */
#define FOR_TAPS(call)                       \
    switch (map->sizes[4]) {                 \
        case 2: call(2); break;              \
        case 4: call(4); break;              \
        case 6: call(6); break;              \
        case 8: call(8); break;              \
        case 12: call(12); break;            \
        default: call((int)map->sizes[4]);   \
    }

EXPORT void wavelet_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
#define RUN(L) forward(L, map, blocks, x, y)
    FOR_TAPS(RUN)
#undef RUN
}

EXPORT void wavelet_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                             vec *dx) {
#define RUN(L) backward(L, map, blocks, x, dy, dx)
    FOR_TAPS(RUN)
#undef RUN
}
