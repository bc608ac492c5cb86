/* Differentiable 3D Gaussian rasteriser for CPUs: forward and backward, from world space to pixels.
 *
 * Compiled by cpu.py, once with REAL=float (training) and once with REAL=double (tests). The maths is that of
 * projection.py and dense.py; docs/rasteriser.md derives it. Projection runs in double precision, pixels in REAL.
 *
 * Work is cut into units that do not depend on the number of threads (chunks of Gaussians; pairs of a view and a
 * band of BAND rows), every unit writes only its own memory, and sums over units are taken in a fixed order: the
 * result is the same to the bit for any number of threads. Threads are plain pthreads that live for one stage of a
 * call: OpenMP's would not survive a fork of the process.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

#define MAX_THREADS 64

/* ---------------------------------------------------------------- threads */

typedef void (*unit_function)(Job *, int64_t unit);

/* Lives until the last of its owners is done with it: a thread that the system runs too late finds no unit left
 * and only drops its share. The caller waits for units that were begun, never for a thread that was not. */
typedef struct {
    Job *job;
    unit_function run;
    int64_t units;
    atomic_llong next, done;
    atomic_int owners;
} Stage;

static void work(Stage *stage) {
    for (;;) {
        int64_t unit = atomic_fetch_add(&stage->next, 1);
        if (unit >= stage->units) return;
        stage->run(stage->job, unit);
        atomic_fetch_add(&stage->done, 1);
    }
}

static void disown(Stage *stage) {
    if (atomic_fetch_sub(&stage->owners, 1) == 1) free(stage);
}

static void *help(void *stage) {
    work(stage);
    disown(stage);
    return NULL;
}

/* Share the units among the threads; if a thread cannot be started, the others do its work. */
static void parallel(Job *job, unit_function run, int64_t units) {
    int64_t helpers = (job->s.threads < MAX_THREADS ? job->s.threads : MAX_THREADS) - 1;
    if (helpers > units - 1) helpers = units - 1;
    Stage *stage = malloc(sizeof *stage);
    pthread_attr_t detached;
    if (!stage || pthread_attr_init(&detached)) { job->failed = 1; free(stage); return; }
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    stage->job = job;
    stage->run = run;
    stage->units = units;
    atomic_init(&stage->next, 0);
    atomic_init(&stage->done, 0);
    atomic_init(&stage->owners, 1);
    for (int64_t i = 0; i < helpers; i++) {
        pthread_t handle;
        atomic_fetch_add(&stage->owners, 1);
        if (pthread_create(&handle, &detached, help, stage)) { disown(stage); break; }
    }
    pthread_attr_destroy(&detached);
    work(stage);
    while (atomic_load(&stage->done) < units) sched_yield();
    disown(stage);
}

/* ---------------------------------------------------------------- order */

/* The visible Gaussians by depth, ties by id (a stable radix sort on the bits of positive numbers). */
static void sort_unit(Job *job, int64_t view) {
    int64_t n = job->s.count, m = 0;
    const Splat *splats = job->unsorted + view * n;
    int32_t *ids = job->order + view * n;
    int32_t *spare = malloc((size_t)n * sizeof *spare + 1);
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

/* Sum what the bands found for each Gaussian, in the bands' order. */
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

/* ---------------------------------------------------------------- entry points */

static int64_t view_count(const Job *job) { return (int64_t)job->s.objects * job->s.views; }

static int prepare(Job *job) {
    int64_t views = view_count(job);
    job->bands = (job->s.height + BAND - 1) / BAND;
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
