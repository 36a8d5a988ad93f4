/* The whole sequence of a GRU, forward and backward, in lanes; and the dense map.
 *
 * The cell (Wolter, Lin, Yao 2020, arXiv 2004.09569, equations 9 to 12), with the recurrent maps
 * reset, update, state, each behind the interface of lanes.h:
 *   r = sigmoid(reset(h) + a_reset)      a_* = projections of this step's input
 *   z = sigmoid(update(h) + a_update)
 *   c = tanh(state(r h) + a_state)
 *   h' = h + z (c - h)
 */
#include <math.h>

#include "lanes.h"
#include "transpose.h"

/* Dense maps: rows of the matrix in panels of ROWS, ROWS x BLOCKS accumulators in registers. */
#if defined(__AVX512F__) && LANES == 16
#define ROWS 12
#define BLOCKS 2
#elif defined(__AVX512F__)
#define ROWS 8
#define BLOCKS 3
#else
#define ROWS 6
#define BLOCKS 2
#endif

INLINE void tile(int blocks, int64_t in, int64_t out, int64_t rows, const real *w,
                 const real *bias, const vec *x, vec *y) {
    vec sum[ROWS][BLOCKS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
            sum[i][b] = bias && i < rows ? splat(bias[i]) : (vec){0};
    for (int64_t k = 0; k < in; k++, w += ROWS) {
        vec column[BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) column[b] = x[b * in + k];
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++) sum[i][b] += w[i] * column[b];
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
        if (i < rows)
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++) y[b * out + i] = sum[i][b];
}

/* Half a vector: where a narrow instruction takes half the time, the last block of a batch that
 * fills no more than its first half need not cost a whole one. */
typedef real half __attribute__((vector_size(LANES / 2 * sizeof(real)), aligned(16)));

/* As `tile` for the first half of one block; the second half of y becomes zero. */
INLINE void half_tile(int64_t in, int64_t rows, const real *w, const real *bias, const vec *x,
                      vec *y) {
    half sum[ROWS], column, zero = {0};
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) sum[i] = zero + (bias && i < rows ? bias[i] : 0);
    for (int64_t k = 0; k < in; k++, w += ROWS) {
        memcpy(&column, x + k, sizeof column);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) sum[i] += w[i] * column;
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
        if (i < rows) {
            y[i] = (vec){0};
            memcpy(y + i, &sum[i], sizeof sum[i]);
        }
}

/* y = W x + bias for `samples` batch rows, W (out, in) packed as (panels, in, ROWS) with zeros at
 * the end. */
static void product(int64_t out, int64_t in, const real *w, const real *bias, int64_t samples,
                    const vec *x, vec *y) {
    int64_t blocks = (samples + LANES - 1) / LANES;
    int64_t full = blocks - (samples - (blocks - 1) * LANES <= LANES / 2);
    for (int64_t row = 0; row < out; row += ROWS, w += in * ROWS, bias += bias ? ROWS : 0) {
        int64_t rows = out - row < ROWS ? out - row : ROWS, b = 0;
        for (; b + BLOCKS <= full; b += BLOCKS)
            tile(BLOCKS, in, out, rows, w, bias, x + b * in, y + b * out + row);
        for (; b < full; b++) tile(1, in, out, rows, w, bias, x + b * in, y + b * out + row);
        if (b < blocks) half_tile(in, rows, w, bias, x + b * in, y + b * out + row);
    }
}

EXPORT void slt_panel_rows(int64_t *rows) { *rows = ROWS; }

/* sizes: n; parameters: the packed matrix, in backward its packed transpose. The gradient of the
 * matrix is left to one large product after the sequence. */
EXPORT void slt_dense_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    (void)blocks;
    product(map->sizes[0], map->sizes[0], map->parameters[0], 0, map->rows, x, y);
}

EXPORT void slt_dense_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                               vec *dx) {
    (void)blocks, (void)x;
    product(map->sizes[0], map->sizes[0], map->parameters[0], 0, map->rows, dy, dx);
}

/* w[i, :] += sum over the rows l of d[i][l] x[l, :]: `strips` vectors a row of w and of x. */
INLINE void outer_tile(int high, int wide, int64_t rows, int64_t strips, const vec *d,
                       const vec *x, vec *w) {
    vec sum[6][4];
#pragma GCC unroll 6
    for (int i = 0; i < high; i++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++) sum[i][j] = w[i * strips + j];
    for (int64_t l = 0; l < rows; l++)
#pragma GCC unroll 6
        for (int i = 0; i < high; i++) {
            real factor = ((const real *)(d + i))[l];
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++) sum[i][j] += factor * x[l * strips + j];
        }
#pragma GCC unroll 6
    for (int i = 0; i < high; i++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++) w[i * strips + j] = sum[i][j];
}

static void outer_sum(int64_t n, int64_t rows, int64_t strips, const vec *d, const vec *x,
                      vec *w) {
    for (int64_t i = 0; i < n; i += 6)
        for (int64_t j = 0; j < strips; j += 4) {
            int64_t high = n - i < 6 ? n - i : 6, wide = strips - j < 4 ? strips - j : 4;
            const vec *here = x + j;
            vec *to = w + i * strips + j;
            if (high == 6 && wide == 4)
                outer_tile(6, 4, rows, strips, d + i, here, to);
            else if (high == 6 && wide == 3)
                outer_tile(6, 3, rows, strips, d + i, here, to);
            else
                for (int64_t k = 0; k < high; k++)
                    for (int64_t v = 0; v < wide; v++)
                        outer_tile(1, 1, rows, strips, d + i + k, here + v, to + k * strips + v);
        }
}

#ifdef SLT_DOUBLE
INLINE vec sigmoid(vec x) {
    for (int l = 0; l < LANES; l++) x[l] = 1 / (1 + exp(-x[l]));
    return x;
}

INLINE vec tanh_of(vec x) {
    for (int l = 0; l < LANES; l++) x[l] = tanh(x[l]);
    return x;
}
#else
INLINE vec choose(ivec condition, vec yes, vec no) {
    return (vec)((condition & (ivec)yes) | (~condition & (ivec)no));
}

/* exp to 2 units in the last place for -87 <= x <= 88, what it is at the ends beyond; NaN stays. */
INLINE vec exp_of(vec x) {
    x = choose(x < -87.0f, splat(-87.0f), x);
    x = choose(x > 88.0f, splat(88.0f), x);
    /* adding 1.5 * 2^23 leaves the nearest integer in the low bits */
    vec shifted = x * 1.44269504f + 12582912.0f, power = shifted - 12582912.0f;
    vec r = x - power * 0.693359375f + power * 2.12194440e-4f;
    vec p = 1.0f / 5040 * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (vec)(((ivec)shifted << 23) + 0x3f800000);
}

INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exp_of(-x)); }

INLINE vec tanh_of(vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
#endif

enum { RESET, UPDATE, STATE, MAPS };
enum { R, Z, C, H, KEPT }; /* what the history keeps of a step */

typedef struct {
    slt_map *maps[MAPS];
    slt_forward forward[MAPS];
    slt_backward backward[MAPS];
    int64_t mask_stride[MAPS]; /* numbers from one step's mask to the next, 0 without masks */
    int64_t steps, batch, hidden, inputs; /* inputs 0: x holds projections, 3 hidden a row */
    int64_t group;                        /* blocks that go through time together */
    int64_t keep; /* whether history holds all steps (else one, with two of H) */
    const real *x; /* (steps, batch, inputs or 3 hidden), with these strides */
    int64_t x_step, x_row;
    const real *w_in, *b_in; /* the packed (3 hidden, inputs) matrix, and its bias, padded */
    const real *h0;          /* (batch, hidden) */
    real *states;            /* (steps, batch, hidden) */
    vec *history;            /* (steps, KEPT, blocks, hidden), after h0 (blocks, hidden) */
    vec *work; /* group * (inputs + 9 hidden) + LANES * strips; strips: vectors of inputs */
    /* backward alone */
    const real *grad_states; /* or NULL */
    int64_t grad_step, grad_row;
    const real *grad_last; /* (batch, hidden) or NULL */
    real *grad_h0;         /* (batch, hidden) */
    vec *grad_b_in;        /* 3 hidden accumulators, or NULL */
    vec *grad_w_in;        /* 3 hidden * inputs accumulators, or NULL */
    /* with group 1 alone */
    const real *w_in_t; /* the packed (inputs, 3 hidden) matrix */
    real *grad_x;       /* (steps, batch, inputs) or NULL */
    vec *grad_w_rows;   /* (3 hidden, strips) or NULL: that of w_in, rows filled up to vectors */
    real *grad_gates;      /* (steps, batch, 3 hidden) or NULL: of what enters sigmoid and tanh */
    real *reset_states;    /* (steps, batch, hidden) or NULL: r h */
} slt_sequence;

INLINE int64_t blocks_of(const slt_sequence *s) { return (s->batch + LANES - 1) / LANES; }

INLINE int64_t rows_of(const slt_sequence *s, int64_t block) {
    int64_t left = s->batch - block * LANES;
    return left < LANES ? left : LANES;
}

/* Where `which` of step t of a block lies; H of step -1 is the first state. */
INLINE vec *kept(const slt_sequence *s, int64_t t, int which, int64_t block) {
    int64_t size = blocks_of(s) * s->hidden;
    vec *here = s->history + block * s->hidden;
    if (t < 0) return here;
    if (s->keep) return here + size * (1 + t * KEPT + which);
    /* R, Z, C of one step; H in two places in turns, the first that of h0 */
    return which == H ? here + size * (t % 2 ? 0 : 1 + H) : here + size * (1 + which);
}

/* Batch rows in `count` blocks from `first` on. */
INLINE int64_t samples_of(const slt_sequence *s, int64_t first, int64_t count) {
    return (count - 1) * LANES + rows_of(s, first + count - 1);
}

static void load_inputs(const slt_sequence *s, int64_t t, int64_t first, int64_t count,
                        vec *inputs) {
    int64_t width = s->inputs ? s->inputs : 3 * s->hidden;
    for (int64_t b = first; b < first + count; b++)
        rows_to_lanes(rows_of(s, b), width, s->x + t * s->x_step + b * LANES * s->x_row, s->x_row,
                      0, inputs + (b - first) * width);
}

static void forward_group(const slt_sequence *s, const real *const *masks, int64_t first,
                          int64_t count) {
    int64_t n = s->hidden, samples = samples_of(s, first, count);
    vec *inputs = s->work, *a = inputs + s->group * s->inputs, *by_reset = a + 3 * s->group * n;
    vec *by_update = by_reset + s->group * n, *by_state = by_reset;
    vec *reset_state = by_update + s->group * n;
    for (int64_t b = first; b < first + count; b++)
        rows_to_lanes(rows_of(s, b), n, s->h0 + b * LANES * n, n, 0, kept(s, -1, H, b));
    for (int64_t t = 0; t < s->steps; t++) {
        for (int m = 0; m < MAPS; m++) {
            s->maps[m]->mask = masks[m] ? masks[m] + t * s->mask_stride[m] : 0;
            s->maps[m]->rows = samples;
        }
        load_inputs(s, t, first, count, s->inputs ? inputs : a);
        if (s->inputs) product(3 * n, s->inputs, s->w_in, s->b_in, samples, inputs, a);
        vec *h = kept(s, t - 1, H, first), *next = kept(s, t, H, first);
        vec *r = kept(s, t, R, first), *z = kept(s, t, Z, first), *c = kept(s, t, C, first);
        s->forward[RESET](s->maps[RESET], count, h, by_reset);
        s->forward[UPDATE](s->maps[UPDATE], count, h, by_update);
        for (int64_t b = 0; b < count; b++) {
            const vec *a_block = a + 3 * b * n;
            for (int64_t i = b * n, j = 0; j < n; i++, j++) {
                r[i] = sigmoid(a_block[j] + by_reset[i]);
                z[i] = sigmoid(a_block[n + j] + by_update[i]);
                reset_state[i] = r[i] * h[i];
            }
        }
        s->forward[STATE](s->maps[STATE], count, reset_state, by_state);
        for (int64_t b = 0; b < count; b++) {
            const vec *a_block = a + 3 * b * n + 2 * n;
            for (int64_t i = b * n, j = 0; j < n; i++, j++) {
                c[i] = tanh_of(a_block[j] + by_state[i]);
                next[i] = h[i] + z[i] * (c[i] - h[i]);
            }
        }
        for (int64_t b = 0; b < count; b++)
            lanes_to_rows(rows_of(s, first + b), n, next + b * n, 0,
                          s->states + (t * s->batch + (first + b) * LANES) * n, n);
    }
}

static void backward_group(const slt_sequence *s, const real *const *masks, int64_t first,
                           int64_t count) {
    int64_t n = s->hidden, total = count * n, samples = samples_of(s, first, count);
    vec *inputs = s->work, *d_r = inputs + s->group * s->inputs, *d_z = d_r + s->group * n;
    vec *d_c = d_z + s->group * n, *d_h = d_c + s->group * n, *reset_state = d_h + s->group * n;
    vec *d_reset_state = reset_state + s->group * n, *d_outer = d_reset_state + s->group * n;
    vec *by_reset = d_outer + s->group * n, *by_update = by_reset + s->group * n;
    vec *x_rows = by_update + s->group * n;
    int64_t strips = (s->inputs + LANES - 1) / LANES;
    memset(x_rows, 0, LANES * strips * sizeof(vec));
    memset(d_h, 0, total * sizeof(vec));
    if (s->grad_last)
        for (int64_t b = 0; b < count; b++)
            rows_to_lanes(rows_of(s, first + b), n, s->grad_last + (first + b) * LANES * n, n, 1,
                          d_h + b * n);
    for (int64_t t = s->steps - 1; t >= 0; t--) {
        for (int m = 0; m < MAPS; m++) {
            s->maps[m]->mask = masks[m] ? masks[m] + t * s->mask_stride[m] : 0;
            s->maps[m]->rows = samples;
        }
        const vec *h = kept(s, t - 1, H, first), *r = kept(s, t, R, first);
        const vec *z = kept(s, t, Z, first), *c = kept(s, t, C, first);
        if (s->grad_states)
            for (int64_t b = 0; b < count; b++) {
                rows_to_lanes(rows_of(s, first + b), n,
                              s->grad_states + t * s->grad_step + (first + b) * LANES * s->grad_row,
                              s->grad_row, 1, d_outer);
                for (int64_t i = 0; i < n; i++) d_h[b * n + i] += d_outer[i];
            }
        for (int64_t i = 0; i < total; i++) {
            vec outer = d_h[i], scaled = outer * z[i];
            d_c[i] = scaled * (1 - c[i] * c[i]);
            d_z[i] = scaled * (1 - z[i]) * (c[i] - h[i]);
            d_h[i] = outer - scaled;
            reset_state[i] = r[i] * h[i];
        }
        s->backward[STATE](s->maps[STATE], count, reset_state, d_c, d_reset_state);
        for (int64_t i = 0; i < total; i++) {
            d_r[i] = d_reset_state[i] * reset_state[i] * (1 - r[i]);
            d_h[i] += d_reset_state[i] * r[i];
        }
        s->backward[RESET](s->maps[RESET], count, h, d_r, by_reset);
        s->backward[UPDATE](s->maps[UPDATE], count, h, d_z, by_update);
        for (int64_t i = 0; i < total; i++) d_h[i] += by_reset[i] + by_update[i];

        if (s->grad_x) {
            product(s->inputs, 3 * n, s->w_in_t, 0, samples, d_r, inputs);
            lanes_to_rows(rows_of(s, first), s->inputs, inputs, 0,
                          s->grad_x + (t * s->batch + first * LANES) * s->inputs, s->inputs);
        }
        if (s->grad_w_rows) {
            const real *x = s->x + t * s->x_step + first * LANES * s->x_row;
            for (int64_t l = 0; l < rows_of(s, first); l++)
                memcpy(x_rows + l * strips, x + l * s->x_row, s->inputs * sizeof(real));
            outer_sum(3 * n, rows_of(s, first), strips, d_r, x_rows, s->grad_w_rows);
        }
        const vec *d_gates[MAPS] = {d_r, d_z, d_c};
        if (s->grad_w_in) load_inputs(s, t, first, count, inputs);
        for (int64_t b = 0; b < count; b++)
            for (int m = 0; m < MAPS; m++) {
                const vec *d_gate = d_gates[m] + b * n;
                if (s->grad_gates)
                    lanes_to_rows(rows_of(s, first + b), n, d_gate, 0,
                                  s->grad_gates + (t * s->batch + (first + b) * LANES) * 3 * n +
                                      m * n, 3 * n);
                if (s->grad_b_in)
                    for (int64_t i = 0; i < n; i++) s->grad_b_in[m * n + i] += d_gate[i];
                if (s->grad_w_in)
                    for (int64_t i = 0; i < n; i++)
                        for (int64_t f = 0; f < s->inputs; f++)
                            s->grad_w_in[(m * n + i) * s->inputs + f] +=
                                d_gate[i] * inputs[b * s->inputs + f];
            }
        if (s->reset_states)
            for (int64_t b = 0; b < count; b++)
                lanes_to_rows(rows_of(s, first + b), n, reset_state + b * n, 0,
                              s->reset_states + (t * s->batch + (first + b) * LANES) * n, n);
    }
    if (s->grad_h0)
        for (int64_t b = 0; b < count; b++)
            lanes_to_rows(rows_of(s, first + b), n, d_h + b * n, 0,
                          s->grad_h0 + (first + b) * LANES * n, n);
}

typedef void (*group_function)(const slt_sequence *, const real *const *, int64_t, int64_t);

static void run(const slt_sequence *s, group_function function) {
    const real *masks[MAPS];
    for (int m = 0; m < MAPS; m++) masks[m] = s->maps[m]->mask;
    int64_t blocks = blocks_of(s);
    for (int64_t first = 0; first < blocks; first += s->group)
        function(s, masks, first, blocks - first < s->group ? blocks - first : s->group);
    for (int m = 0; m < MAPS; m++) s->maps[m]->mask = masks[m];
}

EXPORT void slt_sequence_forward(const slt_sequence *s) { run(s, forward_group); }

EXPORT void slt_sequence_backward(const slt_sequence *s) { run(s, backward_group); }
