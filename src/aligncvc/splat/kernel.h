/* The rasteriser kernel's types: see kernel.c. */
#ifndef ALIGNCVC_SPLAT_KERNEL_H
#define ALIGNCVC_SPLAT_KERNEL_H

#include <stdatomic.h>
#include <stdint.h>

#ifndef REAL
#define REAL float
#define REAL_IS_FLOAT 1
#endif

#define BAND 16    /* rows of a band */
#define CHUNK 1024 /* Gaussians of a projection unit */

typedef REAL real;
#if REAL_IS_FLOAT
typedef int32_t integer;
typedef uint32_t sort_key;
#else
typedef int64_t integer;
typedef uint64_t sort_key;
#endif

/* The conventions of gsplat 1.5.3; cpu.py passes them so that they are written down once (constants.py). */
typedef struct {
    int32_t objects, views, count, width, height, threads; /* B, V (per object), N, W, H */
    double focal, near, background, blur, alpha_max, alpha_min, stop, frustum_margin;
} Settings;

/* One Gaussian as one view sees it. The mean is kept relative to the first pixel centre of its box: a small
 * number, hence a precise one in float. */
typedef struct {
    real fx, fy;           /* mean minus the centre of pixel (x0, y0) */
    real a, b, c;          /* conic: sigma = a dx^2 / 2 + b dx dy + c dy^2 / 2 */
    real opacity, depth;
    real color[3];
    int16_t x0, x1, y0, y1; /* inclusive box of pixels that alpha_min can reach; x1 < x0: not visible */
} Splat;

/* Gradient of a Splat: mean, conic, opacity, depth, colour. */
enum { GX, GY, GA, GB, GC, GO, GZ, GR, GRADS = 10 };

typedef struct {
    Settings s;
    const real *means, *scales, *quats, *opacities, *colors; /* (B,N,3) (B,N,3) (B,N,4) (B,N) (B,N,3) */
    const double *w2c;                                       /* (B*V,4,4) */
    Splat *splats;                                           /* (B*V,N) the visible ones, front to back */
    int32_t *order, *visible;                                /* (B*V,N) their ids, (B*V) how many */
    int32_t *last;                                           /* (B*V,H,W) rank of the last contributor, -1: none */
    real *through;                                           /* (B*V,H,W) transmittance left at the end */
    real *rgb, *alpha, *depth;                               /* (B*V,3,H,W) (B*V,1,H,W) (B*V,1,H,W) */
    const real *g_rgb, *g_alpha, *g_depth;
    real *g_means, *g_scales, *g_quats, *g_opacities, *g_colors;
    /* scratch */
    int32_t bands;           /* of a view */
    int32_t *band_offset;    /* (B*V,bands+1) into the view's part of band_rank */
    int32_t **band_rank;     /* (B*V) ranks of the Gaussians that touch each band, front to back */
    Splat *unsorted;         /* (B*V,N) by id */
    real **band_grad;        /* (B*V) (entries,GRADS) */
    real *splat_grad;        /* (B*V,N,GRADS) */
    atomic_int failed;       /* some unit found no memory */
} Job;

static inline int64_t chunks(const Settings *s) { return (s->count + CHUNK - 1) / CHUNK; }

/* A unit of work; the comments say what `unit` counts. */
void project_unit(Job *job, int64_t unit);      /* views x chunks */
void draw_unit(Job *job, int64_t unit);         /* views x bands */
void draw_back_unit(Job *job, int64_t unit);    /* views x bands */
void project_back_unit(Job *job, int64_t unit); /* objects x chunks */

#endif
