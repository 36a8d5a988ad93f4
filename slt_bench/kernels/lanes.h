/* What every kernel is written with: blocks of LANES batch rows, one vector register a feature.
 *
 * A block of n features is n vectors: vector i holds feature i of LANES batch rows. A function of
 * the map interface below gets `blocks` such blocks, one behind the other. `real` is float, or
 * double where SLT_DOUBLE is defined. See slt_bench/kernels/__init__.py for the Python side.
 */
#ifndef SLT_LANES_H
#define SLT_LANES_H
#include <stdint.h>
#include <string.h>

#ifdef SLT_DOUBLE
typedef double real;
typedef int64_t same_size_int;
#else
typedef float real;
typedef int32_t same_size_int;
#endif

#ifndef LANES
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#endif

/* aligned(32): a vector register may be wider, but unaligned access to it costs nothing more. */
typedef real vec __attribute__((vector_size(LANES * sizeof(real)), aligned(32)));
typedef same_size_int ivec __attribute__((vector_size(LANES * sizeof(real)), aligned(32)));

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

/* One linear map as its kernel sees it. */
typedef struct {
    const int64_t *sizes;            /* the integers that the baseline gave */
    const real *const *parameters;   /* the tensors that it learns, contiguous */
    const int64_t *const *constants; /* its index tensors, int64, contiguous */
    const real *mask; /* of this step: factors for all parameters, one behind the other, or NULL */
    vec *gradients;   /* accumulators: one vector an element of all parameters; backward only */
    vec *scratch;     /* as many vectors as the baseline asked for; kept for nothing */
    int64_t rows;     /* batch rows in all blocks; the lanes beyond in the last block repeat the
                       * last row (gradients: are zero), and what is made of them is not used,
                       * but must be finite where it is for that row */
} slt_map;

/* y = map(x), for `blocks` blocks. Every element of y is written. */
typedef void (*slt_forward)(const slt_map *map, int64_t blocks, const vec *x, vec *y);
/* dx = the gradient of x, given dy that of y; adds to map->gradients. All of dx is written. */
typedef void (*slt_backward)(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                             vec *dx);

INLINE vec splat(real value) { return value - (vec){0}; }

#endif
