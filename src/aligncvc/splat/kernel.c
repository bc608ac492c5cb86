/* Differentiable 3D Gaussian rasteriser for CPUs: forward and backward, from world space to pixels.
 *
 * Compiled by cpu.py, once with REAL=float (training) and once with REAL=double (tests). The maths is that of
 * projection.py and dense.py; docs/rasteriser.md derives it. Projection runs in double precision, pixels in REAL.
 *
 * Work is cut into units that do not depend on the number of threads (chunks of Gaussians; pairs of a view and a
 * band of BAND rows), every unit writes only its own memory, and sums over units are taken in a fixed order: the
 * result is the same to the bit for any number of threads. Threads are plain pthreads that live for one call: no
 * second OpenMP runtime spins beside torch's, and a process may fork between calls.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#define REAL_IS_FLOAT 1
#endif

#define BAND 16      /* rows of a band */
#define CHUNK 1024   /* Gaussians of a projection unit */
#define LANES 8      /* pixels handled at once; a power of two */
#define MAX_THREADS 64

typedef REAL real;
#if REAL_IS_FLOAT
typedef int32_t integer;
typedef uint32_t sort_key;
#else
typedef int64_t integer;
typedef uint64_t sort_key;
#endif
typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
typedef integer ivec __attribute__((vector_size(LANES * sizeof(real))));

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

/* Gradient of a Splat: conic, mean, opacity, depth, colour. */
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
    int32_t bands, padded;   /* bands of a view; row length with room for LANES - 1 more pixels */
    int32_t *band_offset;    /* (B*V,bands+1) into the view's part of band_rank */
    int32_t **band_rank;     /* (B*V) ranks of the Gaussians that touch each band, front to back */
    Splat *unsorted;         /* (B*V,N) by id */
    real **band_grad;        /* (B*V) (entries,GRADS) */
    real *splat_grad;        /* (B*V,N,GRADS) */
    int failed;
} Job;

/* ---------------------------------------------------------------- threads */

typedef void (*unit_function)(Job *, int64_t unit);
typedef struct { Job *job; unit_function run; int64_t units; atomic_llong next; } Stage;

static void *work(void *argument) {
    Stage *stage = argument;
    for (;;) {
        int64_t unit = atomic_fetch_add(&stage->next, 1);
        if (unit >= stage->units) return NULL;
        stage->run(stage->job, unit);
    }
}

/* Share the units among the threads; if a thread cannot be started, the others do its work. */
static void parallel(Job *job, unit_function run, int64_t units) {
    Stage stage = {job, run, units, 0};
    pthread_t handles[MAX_THREADS];
    int64_t wanted = job->s.threads < MAX_THREADS ? job->s.threads : MAX_THREADS;
    if (wanted > units) wanted = units;
    int started = 0;
    while (started < wanted - 1 && !pthread_create(&handles[started], NULL, work, &stage)) started++;
    work(&stage);
    for (int i = 0; i < started; i++) pthread_join(handles[i], NULL);
}

/* ---------------------------------------------------------------- projection */

/* World covariance R S S R^T as xx, xy, xz, yy, yz, zz; R and the quaternion's norm are kept for backward. */
static inline void covariance(const real *scale, const real *quat, double r[9], double *norm, double sigma[6]) {
    double w = quat[0], x = quat[1], y = quat[2], z = quat[3];
    double n = sqrt(w * w + x * x + y * y + z * z);
    n = n > 1e-12 ? n : 1e-12;
    w /= n; x /= n; y /= n; z /= n;
    r[0] = 1 - 2 * (y * y + z * z); r[1] = 2 * (x * y - w * z); r[2] = 2 * (x * z + w * y);
    r[3] = 2 * (x * y + w * z); r[4] = 1 - 2 * (x * x + z * z); r[5] = 2 * (y * z - w * x);
    r[6] = 2 * (x * z - w * y); r[7] = 2 * (y * z + w * x); r[8] = 1 - 2 * (x * x + y * y);
    double s0 = (double)scale[0] * scale[0], s1 = (double)scale[1] * scale[1], s2 = (double)scale[2] * scale[2];
    sigma[0] = r[0] * r[0] * s0 + r[1] * r[1] * s1 + r[2] * r[2] * s2;
    sigma[1] = r[0] * r[3] * s0 + r[1] * r[4] * s1 + r[2] * r[5] * s2;
    sigma[2] = r[0] * r[6] * s0 + r[1] * r[7] * s1 + r[2] * r[8] * s2;
    sigma[3] = r[3] * r[3] * s0 + r[4] * r[4] * s1 + r[5] * r[5] * s2;
    sigma[4] = r[3] * r[6] * s0 + r[4] * r[7] * s1 + r[5] * r[8] * s2;
    sigma[5] = r[6] * r[6] * s0 + r[7] * r[7] * s1 + r[8] * r[8] * s2;
    *norm = n;
}

/* One Gaussian in one camera: position t, M = J W (2x3), M Sigma (2x3) and the blurred 2D covariance. */
typedef struct {
    double t[3], u, v, m[6], ms[6], xx, xy, yy, det;
    int u_free, v_free; /* x/z (y/z) lies inside the margin, so it passes gradient */
} Projected;

static inline double clip(double x, double bound) { return x < -bound ? -bound : x > bound ? bound : x; }

static inline void project(const Settings *s, const double *w, const real *mean, const double *sigma, Projected *p) {
    for (int i = 0; i < 3; i++)
        p->t[i] = w[4 * i] * mean[0] + w[4 * i + 1] * mean[1] + w[4 * i + 2] * mean[2] + w[4 * i + 3];
    double z = p->t[2], rz = 1 / z, f = s->focal * rz;
    double x_bound = (1 + s->frustum_margin) * 0.5 * s->width / s->focal;
    double y_bound = (1 + s->frustum_margin) * 0.5 * s->height / s->focal;
    double x = p->t[0] * rz, y = p->t[1] * rz;
    p->u = clip(x, x_bound);
    p->v = clip(y, y_bound);
    p->u_free = p->u == x;
    p->v_free = p->v == y;
    for (int j = 0; j < 3; j++) {
        p->m[j] = f * (w[j] - p->u * w[8 + j]);
        p->m[3 + j] = f * (w[4 + j] - p->v * w[8 + j]);
    }
    for (int i = 0; i < 6; i += 3) {
        const double *m = p->m + i;
        p->ms[i] = m[0] * sigma[0] + m[1] * sigma[1] + m[2] * sigma[2];
        p->ms[i + 1] = m[0] * sigma[1] + m[1] * sigma[3] + m[2] * sigma[4];
        p->ms[i + 2] = m[0] * sigma[2] + m[1] * sigma[4] + m[2] * sigma[5];
    }
    p->xx = p->ms[0] * p->m[0] + p->ms[1] * p->m[1] + p->ms[2] * p->m[2] + s->blur;
    p->xy = p->ms[0] * p->m[3] + p->ms[1] * p->m[4] + p->ms[2] * p->m[5];
    p->yy = p->ms[3] * p->m[3] + p->ms[4] * p->m[4] + p->ms[5] * p->m[5] + s->blur;
    p->det = p->xx * p->yy - p->xy * p->xy;
}

static inline int64_t chunks(const Settings *s) { return (s->count + CHUNK - 1) / CHUNK; }

static void project_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t view = unit / chunks(s), first = unit % chunks(s) * CHUNK, n = s->count;
    int64_t object = view / s->views, end = first + CHUNK < n ? first + CHUNK : n;
    const double *w = job->w2c + 16 * view;
    for (int64_t i = first; i < end; i++) {
        int64_t g = object * n + i;
        Splat *out = &job->unsorted[view * n + i];
        double r[9], norm, sigma[6];
        Projected p;
        out->x0 = 0;
        out->x1 = -1;
        double opacity = job->opacities[g];
        if (!(opacity >= s->alpha_min)) continue;
        covariance(job->scales + 3 * g, job->quats + 4 * g, r, &norm, sigma);
        project(s, w, job->means + 3 * g, sigma, &p);
        if (!(p.t[2] >= s->near) || !(p.det > 0)) continue;
        double mx = s->focal * p.t[0] / p.t[2] + 0.5 * s->width, my = s->focal * p.t[1] / p.t[2] + 0.5 * s->height;
        /* alpha >= alpha_min inside sigma <= log(opacity / alpha_min); the slack covers rounding in REAL. */
        double reach = sqrt(2 * log(opacity / s->alpha_min));
        double ex = 1.0001 * reach * sqrt(p.xx) + 0.01, ey = 1.0001 * reach * sqrt(p.yy) + 0.01;
        double x0 = ceil(mx - ex - 0.5), x1 = floor(mx + ex - 0.5), y0 = ceil(my - ey - 0.5), y1 = floor(my + ey - 0.5);
        x0 = x0 > 0 ? x0 : 0;
        y0 = y0 > 0 ? y0 : 0;
        x1 = x1 < s->width - 1 ? x1 : s->width - 1;
        y1 = y1 < s->height - 1 ? y1 : s->height - 1;
        if (!(x0 <= x1 && y0 <= y1)) continue;
        out->x0 = (int16_t)x0; out->x1 = (int16_t)x1; out->y0 = (int16_t)y0; out->y1 = (int16_t)y1;
        out->fx = (real)(mx - (x0 + 0.5));
        out->fy = (real)(my - (y0 + 0.5));
        out->a = (real)(p.yy / p.det);
        out->b = (real)(-p.xy / p.det);
        out->c = (real)(p.xx / p.det);
        out->opacity = job->opacities[g];
        out->depth = (real)p.t[2];
        for (int k = 0; k < 3; k++) out->color[k] = job->colors[3 * g + k];
    }
}

/* ---------------------------------------------------------------- order */

/* The visible Gaussians by depth, ties by id (a stable radix sort on the bits of positive numbers). */
static void sort_unit(Job *job, int64_t view) {
    int64_t n = job->s.count, m = 0;
    const Splat *splats = job->unsorted + view * n;
    int32_t *ids = job->order + view * n;
    int32_t *spare = malloc((size_t)n * sizeof *spare);
    if (!spare) { job->failed = 1; return; }
    for (int64_t i = 0; i < n; i++) if (splats[i].x0 <= splats[i].x1) ids[m++] = (int32_t)i;
    int32_t *from = ids, *to = spare;
    for (size_t shift = 0; shift < 8 * sizeof(sort_key); shift += 8) {
        int64_t start[257] = {0};
        sort_key key;
        for (int64_t i = 0; i < m; i++) {
            memcpy(&key, &splats[from[i]].depth, sizeof key);
            start[((key >> shift) & 255) + 1]++;
        }
        for (int d = 0; d < 256; d++) start[d + 1] += start[d];
        for (int64_t i = 0; i < m; i++) {
            memcpy(&key, &splats[from[i]].depth, sizeof key);
            to[start[(key >> shift) & 255]++] = from[i];
        }
        int32_t *swap = from; from = to; to = swap;
    }
    /* an even number of passes: the result is back in ids */
    job->visible[view] = (int32_t)m;
    for (int64_t k = 0; k < m; k++) job->splats[view * n + k] = splats[ids[k]];
    free(spare);
}

/* For every band of rows, the ranks of the Gaussians whose box touches it. */
static void band_unit(Job *job, int64_t view) {
    const Splat *splats = job->splats + view * job->s.count;
    int32_t *offset = job->band_offset + view * (job->bands + 1), m = job->visible[view];
    memset(offset, 0, (size_t)(job->bands + 1) * sizeof *offset);
    for (int32_t k = 0; k < m; k++)
        for (int band = splats[k].y0 / BAND; band <= splats[k].y1 / BAND; band++) offset[band + 1]++;
    for (int band = 0; band < job->bands; band++) offset[band + 1] += offset[band];
    int32_t *rank = malloc(((size_t)offset[job->bands] + 1) * sizeof *rank);
    int32_t *next = malloc((size_t)job->bands * sizeof *next);
    job->band_rank[view] = rank;
    if (!rank || !next) { job->failed = 1; free(next); return; }
    memcpy(next, offset, (size_t)job->bands * sizeof *next);
    for (int32_t k = 0; k < m; k++)
        for (int band = splats[k].y0 / BAND; band <= splats[k].y1 / BAND; band++)
            rank[next[band]++] = k;
    free(next);
}

/* ---------------------------------------------------------------- pixels */

static inline vec load(const real *from) { vec v; memcpy(&v, from, sizeof v); return v; }
static inline void store(real *to, vec v) { memcpy(to, &v, sizeof v); }
static inline vec fill(real x) { return x - (vec){0}; }
static inline vec pick(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }
static inline vec keep(ivec mask, vec yes) { return (vec)((ivec)yes & mask); }

static inline int any(ivec mask) {
    integer some = 0;
    for (int i = 0; i < LANES; i++) some |= mask[i];
    return some != 0;
}

static inline vec lanes(void) {
    vec v;
    for (int i = 0; i < LANES; i++) v[i] = (real)i;
    return v;
}

static inline real sum(vec v) {
    real half[LANES];
    memcpy(half, &v, sizeof v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) half[i] += half[i + width];
    return half[0];
}

/* exp(-x) for x >= 0 (to about 1e-7 in float); below exp(-80) it only has to be small. */
static inline vec exp_neg(vec x) {
#if REAL_IS_FLOAT
    x = pick(x < 80.0f, -x, fill(-80.0f));
    vec n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f; /* round to an integer */
    vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;            /* ln 2 in two parts */
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return p * (vec)power;
#else
    for (int i = 0; i < LANES; i++) x[i] = exp(-x[i]);
    return x;
#endif
}

static void draw_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t view = unit / job->bands, band = unit % job->bands, n = s->count, area = (int64_t)s->width * s->height;
    int first = (int)band * BAND, rows = s->height - first < BAND ? s->height - first : BAND, pitch = job->padded;
    size_t plane = (size_t)rows * pitch;
    /* live: transmittance, set to 0 once the pixel is done; through: transmittance behind what was drawn */
    real *live = malloc(6 * plane * sizeof *live);
    integer *last = malloc(plane * sizeof *last);
    if (!live || !last || !job->band_rank[view]) { job->failed = 1; free(live); free(last); return; }
    real *through = live + plane, *red = live + 2 * plane;
    memset(red, 0, 4 * plane * sizeof *red);
    for (size_t i = 0; i < plane; i++) { live[i] = through[i] = 1; last[i] = -1; }

    const Splat *splats = job->splats + view * n;
    const int32_t *offset = job->band_offset + view * (job->bands + 1) + band;
    const vec lane = lanes(), one = fill(1), alpha_max = fill((real)s->alpha_max);
    for (int32_t k = offset[0]; k < offset[1]; k++) {
        if ((k - offset[0]) % 256 == 255) { /* leave once every pixel is done */
            int alive = 0;
            for (int y = 0; y < rows; y++)
                for (int x = 0; x < s->width; x++) alive |= live[(size_t)y * pitch + x] > 0;
            if (!alive) break;
        }
        int32_t rank = job->band_rank[view][k];
        const Splat g = splats[rank];
        int top = g.y0 > first ? g.y0 : first, bottom = g.y1 < first + rows - 1 ? g.y1 : first + rows - 1;
        for (int y = top; y <= bottom; y++) {
            real dy = g.fy - (real)(y - g.y0), by = g.b * dy, cy = (real)0.5 * g.c * dy * dy;
            for (int x = g.x0; x <= g.x1; x += LANES) {
                size_t at = (size_t)(y - first) * pitch + x;
                vec before = load(live + at);
                if (!any(before > 0)) continue;
                vec dx = (g.fx - (real)(x - g.x0)) - lane;
                vec sigma = dx * ((real)0.5 * g.a * dx + by) + cy;
                vec alpha = g.opacity * exp_neg(sigma);
                alpha = pick(alpha < alpha_max, alpha, alpha_max);
                ivec hit = (alpha >= (real)s->alpha_min) & (sigma >= 0);
                vec after = before * (one - alpha);
                ivec draws = hit & (after > (real)s->stop);
                store(live + at, pick(hit, keep(draws, after), before));
                store(through + at, pick(draws, after, load(through + at)));
                vec weight = keep(draws, before * alpha);
                for (int c = 0; c < 3; c++) {
                    real *colour = red + c * plane + at;
                    store(colour, load(colour) + weight * g.color[c]);
                }
                real *depth = red + 3 * plane + at;
                store(depth, load(depth) + weight * g.depth);
                ivec was;
                memcpy(&was, last + at, sizeof was);
                was = (was & ~draws) | (((ivec){0} + rank) & draws);
                memcpy(last + at, &was, sizeof was);
            }
        }
    }
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < s->width; x++) {
            size_t from = (size_t)y * pitch + x;
            int64_t to = (int64_t)(first + y) * s->width + x;
            for (int c = 0; c < 3; c++)
                job->rgb[(3 * view + c) * area + to] = red[c * plane + from] + through[from] * (real)s->background;
            job->depth[view * area + to] = red[3 * plane + from];
            job->alpha[view * area + to] = 1 - through[from];
            job->through[view * area + to] = through[from];
            job->last[view * area + to] = (int32_t)last[from];
        }
    free(live);
    free(last);
}

/* Back to front over a band. Per pixel: `through` is the transmittance behind the Gaussian at hand and `behind` the
 * derivative-weighted value of all that lies behind it, background included. */
static void draw_back_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t view = unit / job->bands, band = unit % job->bands, n = s->count, area = (int64_t)s->width * s->height;
    int first = (int)band * BAND, rows = s->height - first < BAND ? s->height - first : BAND, pitch = job->padded;
    size_t plane = (size_t)rows * pitch;
    real *through = malloc(6 * plane * sizeof *through);
    integer *last = malloc(plane * sizeof *last);
    if (!through || !last || !job->band_grad[view]) { job->failed = 1; free(through); free(last); return; }
    real *behind = through + plane, *g_red = through + 2 * plane;
    integer deepest = -1;
    memset(through, 0, 6 * plane * sizeof *through);
    for (size_t i = 0; i < plane; i++) { through[i] = 1; last[i] = -1; }
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < s->width; x++) {
            size_t to = (size_t)y * pitch + x;
            int64_t from = (int64_t)(first + y) * s->width + x;
            real total = -job->g_alpha[view * area + from];
            for (int c = 0; c < 3; c++) {
                g_red[c * plane + to] = job->g_rgb[(3 * view + c) * area + from];
                total += g_red[c * plane + to] * (real)s->background;
            }
            g_red[3 * plane + to] = job->g_depth[view * area + from];
            through[to] = job->through[view * area + from];
            behind[to] = total * through[to];
            last[to] = job->last[view * area + from];
            if (last[to] > deepest) deepest = last[to];
        }

    const Splat *splats = job->splats + view * n;
    const int32_t *offset = job->band_offset + view * (job->bands + 1) + band;
    const vec lane = lanes(), one = fill(1), alpha_max = fill((real)s->alpha_max);
    for (int32_t k = offset[1] - 1; k >= offset[0]; k--) {
        int32_t rank = job->band_rank[view][k];
        real *grad = job->band_grad[view] + (size_t)GRADS * k;
        if (rank > deepest) { memset(grad, 0, GRADS * sizeof *grad); continue; }
        const Splat g = splats[rank];
        int top = g.y0 > first ? g.y0 : first, bottom = g.y1 < first + rows - 1 ? g.y1 : first + rows - 1;
        vec s_1 = {0}, s_x = {0}, s_xx = {0}, s_y = {0}, s_xy = {0}, s_yy = {0}, s_z = {0}, s_c[3] = {{0}};
        for (int y = top; y <= bottom; y++) {
            real dy = g.fy - (real)(y - g.y0), by = g.b * dy, cy = (real)0.5 * g.c * dy * dy;
            for (int x = g.x0; x <= g.x1; x += LANES) {
                size_t at = (size_t)(y - first) * pitch + x;
                ivec was;
                memcpy(&was, last + at, sizeof was);
                ivec seen = was >= rank;
                if (!any(seen)) continue;
                vec dx = (g.fx - (real)(x - g.x0)) - lane;
                vec sigma = dx * ((real)0.5 * g.a * dx + by) + cy;
                vec alpha = g.opacity * exp_neg(sigma);
                ivec free_alpha = alpha <= alpha_max;
                alpha = pick(free_alpha, alpha, alpha_max);
                ivec drawn = (alpha >= (real)s->alpha_min) & (sigma >= 0) & seen;
                alpha = keep(drawn, alpha);
                vec inverse = one / (one - alpha);
                vec before = load(through + at) * inverse, weight = before * alpha, hidden = load(behind + at);
                vec d_rgb[3], d_depth = load(g_red + 3 * plane + at), value = d_depth * g.depth;
                for (int c = 0; c < 3; c++) {
                    d_rgb[c] = load(g_red + c * plane + at);
                    value += d_rgb[c] * g.color[c];
                    s_c[c] += weight * d_rgb[c];
                }
                s_z += weight * d_depth;
                store(through + at, before);
                store(behind + at, hidden + weight * value);
                /* d sigma = -alpha d alpha; alpha is already 0 where nothing was drawn */
                vec d_sigma = keep(free_alpha, (hidden * inverse - before * value) * alpha);
                vec d_x = d_sigma * dx;
                s_1 += d_sigma;
                s_x += d_x;
                s_xx += d_x * dx;
                s_y += d_sigma * dy;
                s_xy += d_x * dy;
                s_yy += d_sigma * (dy * dy);
            }
        }
        real d_x = sum(s_x), d_y = sum(s_y);
        grad[GX] = g.a * d_x + g.b * d_y;
        grad[GY] = g.b * d_x + g.c * d_y;
        grad[GA] = (real)0.5 * sum(s_xx);
        grad[GB] = sum(s_xy);
        grad[GC] = (real)0.5 * sum(s_yy);
        grad[GO] = -sum(s_1) / g.opacity;
        grad[GZ] = sum(s_z);
        for (int c = 0; c < 3; c++) grad[GR + c] = sum(s_c[c]);
    }
    free(through);
    free(last);
}

/* ---------------------------------------------------------------- backward of the projection */

static void gather_bands_unit(Job *job, int64_t view) {
    int64_t n = job->s.count;
    real *out = job->splat_grad + view * n * GRADS;
    memset(out, 0, (size_t)n * GRADS * sizeof *out);
    int32_t total = job->band_offset[view * (job->bands + 1) + job->bands];
    for (int32_t k = 0; k < total; k++) {
        real *to = out + (size_t)GRADS * job->order[view * n + job->band_rank[view][k]];
        for (int i = 0; i < GRADS; i++) to[i] += job->band_grad[view][(size_t)GRADS * k + i];
    }
}

/* Through covariance = J W Sigma W^T J^T and the mean's projection, for one view; adds to d_mean and d_sigma. */
static inline void project_back(const Settings *s, const double *w, const Projected *p, const real *grad,
                                double d_mean[3], double d_sigma[6]) {
    double inv = 1 / p->det, a = p->yy * inv, b = -p->xy * inv, c = p->xx * inv;
    /* conic = cov^-1: d cov = -conic G conic with G the full symmetric gradient of the conic */
    double ga = grad[GA], gb = 0.5 * (double)grad[GB], gc = grad[GC];
    double p0 = a * ga + b * gb, p1 = a * gb + b * gc, q0 = b * ga + c * gb, q1 = b * gb + c * gc;
    double vxx = -(p0 * a + p1 * b), vxy = -(p0 * b + p1 * c), vyy = -(q0 * b + q1 * c);
    const double *m = p->m, *ms = p->ms;
    double vm[6], dm[6];
    for (int j = 0; j < 3; j++) {
        vm[j] = vxx * m[j] + vxy * m[3 + j];
        vm[3 + j] = vxy * m[j] + vyy * m[3 + j];
        dm[j] = 2 * (vxx * ms[j] + vxy * ms[3 + j]);
        dm[3 + j] = 2 * (vxy * ms[j] + vyy * ms[3 + j]);
    }
    /* d Sigma = M^T V M; off-diagonal entries stand for both halves */
    d_sigma[0] += m[0] * vm[0] + m[3] * vm[3];
    d_sigma[1] += 2 * (m[0] * vm[1] + m[3] * vm[4]);
    d_sigma[2] += 2 * (m[0] * vm[2] + m[3] * vm[5]);
    d_sigma[3] += m[1] * vm[1] + m[4] * vm[4];
    d_sigma[4] += 2 * (m[1] * vm[2] + m[4] * vm[5]);
    d_sigma[5] += m[2] * vm[2] + m[5] * vm[5];
    /* M row 0 = f/z (W0 - u W2), row 1 = f/z (W1 - v W2) */
    double z = p->t[2], rz = 1 / z, f = s->focal * rz, du = 0, dv = 0, df = 0;
    for (int j = 0; j < 3; j++) {
        du -= f * dm[j] * w[8 + j];
        dv -= f * dm[3 + j] * w[8 + j];
        df += dm[j] * (w[j] - p->u * w[8 + j]) + dm[3 + j] * (w[4 + j] - p->v * w[8 + j]);
    }
    if (!p->u_free) du = 0;
    if (!p->v_free) dv = 0;
    double x = p->t[0] * rz, y = p->t[1] * rz, gx = s->focal * (double)grad[GX] + du, gy = s->focal * (double)grad[GY] + dv;
    double dt0 = gx * rz, dt1 = gy * rz, dt2 = (double)grad[GZ] - (gx * x + gy * y) * rz - df * f * rz;
    for (int j = 0; j < 3; j++) d_mean[j] += w[j] * dt0 + w[4 + j] * dt1 + w[8 + j] * dt2;
}

static void project_back_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t object = unit / chunks(s), first = unit % chunks(s) * CHUNK, n = s->count;
    int64_t end = first + CHUNK < n ? first + CHUNK : n;
    for (int64_t i = first; i < end; i++) {
        int64_t g = object * n + i;
        double r[9], norm, sigma[6], d_mean[3] = {0}, d_sigma[6] = {0}, d_opacity = 0, d_color[3] = {0};
        covariance(job->scales + 3 * g, job->quats + 4 * g, r, &norm, sigma);
        for (int64_t v = 0; v < s->views; v++) {
            int64_t view = object * s->views + v;
            const real *grad = job->splat_grad + (view * n + i) * GRADS;
            int reached = 0; /* false for what is culled or hidden */
            for (int k = 0; k < GRADS; k++) reached |= grad[k] != 0;
            if (!reached) continue;
            Projected p;
            project(s, job->w2c + 16 * view, job->means + 3 * g, sigma, &p);
            project_back(s, job->w2c + 16 * view, &p, grad, d_mean, d_sigma);
            d_opacity += grad[GO];
            for (int k = 0; k < 3; k++) d_color[k] += grad[GR + k];
        }
        /* Sigma = (R S)(R S)^T: d(R S) = 2 d Sigma R S */
        double h[9] = {d_sigma[0], d_sigma[1] / 2, d_sigma[2] / 2, d_sigma[1] / 2, d_sigma[3], d_sigma[4] / 2,
                       d_sigma[2] / 2, d_sigma[4] / 2, d_sigma[5]};
        double dr[9];
        for (int k = 0; k < 3; k++) {
            double scale = job->scales[3 * g + k], d_scale = 0;
            for (int row = 0; row < 3; row++) {
                double d = 2 * scale * (h[3 * row] * r[k] + h[3 * row + 1] * r[3 + k] + h[3 * row + 2] * r[6 + k]);
                d_scale += d * r[3 * row + k];
                dr[3 * row + k] = d * scale;
            }
            job->g_scales[3 * g + k] = (real)d_scale;
        }
        double w = job->quats[4 * g] / norm, x = job->quats[4 * g + 1] / norm, y = job->quats[4 * g + 2] / norm;
        double z = job->quats[4 * g + 3] / norm;
        double dq[4] = {
            2 * (x * (dr[7] - dr[5]) + y * (dr[2] - dr[6]) + z * (dr[3] - dr[1])),
            2 * (w * (dr[7] - dr[5]) + y * (dr[1] + dr[3]) + z * (dr[2] + dr[6]) - 2 * x * (dr[4] + dr[8])),
            2 * (w * (dr[2] - dr[6]) + x * (dr[1] + dr[3]) + z * (dr[5] + dr[7]) - 2 * y * (dr[0] + dr[8])),
            2 * (w * (dr[3] - dr[1]) + x * (dr[2] + dr[6]) + y * (dr[5] + dr[7]) - 2 * z * (dr[0] + dr[4]))};
        double along = dq[0] * w + dq[1] * x + dq[2] * y + dq[3] * z; /* the norm has no effect */
        job->g_quats[4 * g] = (real)((dq[0] - along * w) / norm);
        job->g_quats[4 * g + 1] = (real)((dq[1] - along * x) / norm);
        job->g_quats[4 * g + 2] = (real)((dq[2] - along * y) / norm);
        job->g_quats[4 * g + 3] = (real)((dq[3] - along * z) / norm);
        for (int k = 0; k < 3; k++) {
            job->g_means[3 * g + k] = (real)d_mean[k];
            job->g_colors[3 * g + k] = (real)d_color[k];
        }
        job->g_opacities[g] = (real)d_opacity;
    }
}

/* ---------------------------------------------------------------- entry points */

static int64_t view_count(const Job *job) { return (int64_t)job->s.objects * job->s.views; }

static int prepare(Job *job) {
    int64_t views = view_count(job);
    job->bands = (job->s.height + BAND - 1) / BAND;
    job->padded = job->s.width + LANES - 1;
    job->failed = 0;
    job->band_offset = malloc((size_t)views * (size_t)(job->bands + 1) * sizeof *job->band_offset);
    job->band_rank = calloc((size_t)views, sizeof *job->band_rank);
    job->band_grad = calloc((size_t)views, sizeof *job->band_grad);
    return job->band_offset && job->band_rank && job->band_grad;
}

static void release(Job *job) {
    for (int64_t v = 0; v < view_count(job); v++) {
        if (job->band_rank) free(job->band_rank[v]);
        if (job->band_grad) free(job->band_grad[v]);
    }
    free(job->band_offset);
    free(job->band_rank);
    free(job->band_grad);
}

int64_t splat_bytes(void) { return (int64_t)sizeof(Splat); }

/* Each returns 0, or 1 when memory ran out. */
int splat_forward(const Settings *s, const real *means, const real *scales, const real *quats, const real *opacities,
                  const real *colors, const double *w2c, Splat *splats, int32_t *order, int32_t *visible,
                  int32_t *last, real *through, real *rgb, real *alpha, real *depth) {
    Job job = {.s = *s, .means = means, .scales = scales, .quats = quats, .opacities = opacities, .colors = colors,
               .w2c = w2c, .splats = splats, .order = order, .visible = visible, .last = last, .through = through,
               .rgb = rgb, .alpha = alpha, .depth = depth};
    int64_t views = view_count(&job);
    if (!prepare(&job)) job.failed = 1;
    job.unsorted = malloc((size_t)views * (size_t)s->count * sizeof *job.unsorted + 1);
    if (!job.unsorted) job.failed = 1;
    if (!job.failed) parallel(&job, project_unit, views * chunks(s));
    if (!job.failed) parallel(&job, sort_unit, views);
    if (!job.failed) parallel(&job, band_unit, views);
    if (!job.failed) parallel(&job, draw_unit, views * job.bands);
    free(job.unsorted);
    release(&job);
    return job.failed;
}

int splat_backward(const Settings *s, const real *means, const real *scales, const real *quats, const real *opacities,
                   const real *colors, const double *w2c, Splat *splats, int32_t *order, int32_t *visible,
                   int32_t *last, real *through, const real *g_rgb, const real *g_alpha, const real *g_depth,
                   real *g_means, real *g_scales, real *g_quats, real *g_opacities, real *g_colors) {
    Job job = {.s = *s, .means = means, .scales = scales, .quats = quats, .opacities = opacities, .colors = colors,
               .w2c = w2c, .splats = splats, .order = order, .visible = visible, .last = last, .through = through,
               .g_rgb = g_rgb, .g_alpha = g_alpha, .g_depth = g_depth, .g_means = g_means, .g_scales = g_scales,
               .g_quats = g_quats, .g_opacities = g_opacities, .g_colors = g_colors};
    int64_t views = view_count(&job);
    if (!prepare(&job)) job.failed = 1;
    if (!job.failed) parallel(&job, band_unit, views);
    for (int64_t v = 0; v < views && !job.failed; v++) {
        size_t entries = (size_t)job.band_offset[v * (job.bands + 1) + job.bands];
        job.band_grad[v] = malloc((entries * GRADS + 1) * sizeof(real));
        if (!job.band_grad[v]) job.failed = 1;
    }
    job.splat_grad = malloc((size_t)views * (size_t)s->count * GRADS * sizeof(real) + 1);
    if (!job.splat_grad) job.failed = 1;
    if (!job.failed) parallel(&job, draw_back_unit, views * job.bands);
    if (!job.failed) parallel(&job, gather_bands_unit, views);
    if (!job.failed) parallel(&job, project_back_unit, s->objects * chunks(s));
    free(job.splat_grad);
    release(&job);
    return job.failed;
}
