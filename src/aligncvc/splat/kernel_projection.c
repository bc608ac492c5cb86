/* From world space to splats and back (docs/rasteriser.md), in double precision. */
#include <math.h>

#include "kernel.h"

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

void project_unit(Job *job, int64_t unit) {
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
        double x0 = ceil(mx - ex - 0.5), x1 = floor(mx + ex - 0.5);
        double y0 = ceil(my - ey - 0.5), y1 = floor(my + ey - 0.5);
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

/* ---------------------------------------------------------------- backward */

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
    double x = p->t[0] * rz, gx = s->focal * (double)grad[GX] + du;
    double y = p->t[1] * rz, gy = s->focal * (double)grad[GY] + dv;
    double dt0 = gx * rz, dt1 = gy * rz, dt2 = (double)grad[GZ] - (gx * x + gy * y) * rz - df * f * rz;
    for (int j = 0; j < 3; j++) d_mean[j] += w[j] * dt0 + w[4 + j] * dt1 + w[8 + j] * dt2;
}

void project_back_unit(Job *job, int64_t unit) {
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
