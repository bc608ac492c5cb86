/* Drawing a band of rows, front to back, and its derivative, back to front.
 *
 * The pixels of a row are handled LANES at a time from wherever a Gaussian's box begins; rows are padded so that the
 * last vector may run over the end. A lane outside the box needs no mask: its alpha is below the threshold.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

#define LANES 8 /* a power of two */

typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
typedef integer ivec __attribute__((vector_size(LANES * sizeof(real))));

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

void draw_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t view = unit / job->bands, band = unit % job->bands, n = s->count, area = (int64_t)s->width * s->height;
    int first = (int)band * BAND, rows = s->height - first < BAND ? s->height - first : BAND;
    int pitch = s->width + LANES - 1;
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
void draw_back_unit(Job *job, int64_t unit) {
    const Settings *s = &job->s;
    int64_t view = unit / job->bands, band = unit % job->bands, n = s->count, area = (int64_t)s->width * s->height;
    int first = (int)band * BAND, rows = s->height - first < BAND ? s->height - first : BAND;
    int pitch = s->width + LANES - 1;
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
