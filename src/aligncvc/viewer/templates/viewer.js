/* A small WebGL2 viewer for 3D Gaussians. No dependency, no network.
 *
 * Every element `.gs-viewer` names, in data-model, a <script> that holds base64 Gaussians in the layout of
 * aligncvc.viewer.pack. It is mounted when it first comes into sight: decoded, put in a float texture,
 * sorted back to front by depth, and drawn as one instanced quad for each Gaussian with the EWA projection
 * of aligncvc.splat. The camera is the project's: z up, azimuth 0 on the -y axis, vertical field of view.
 */
(() => {
  "use strict";
  const TEXELS = 4, PER_ROW = 256, DEG = Math.PI / 180;

  const VERTEX = `#version 300 es
  precision highp float; precision highp sampler2D;
  uniform sampler2D data; uniform mat3 turn; uniform vec3 eye; uniform vec2 size; uniform float focal;
  uniform float lowpass;
  layout(location = 0) in vec2 corner; layout(location = 1) in uint index;
  out vec2 offset; out vec4 colour; flat out vec3 conic;
  void main() {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    int row = int(index) / ${PER_ROW}, col = (int(index) % ${PER_ROW}) * ${TEXELS};
    vec4 a = texelFetch(data, ivec2(col, row), 0), b = texelFetch(data, ivec2(col + 1, row), 0);
    vec4 c = texelFetch(data, ivec2(col + 2, row), 0);
    vec3 t = turn * (a.xyz - eye);
    if (t.z < 0.05) return;
    mat3 sigma = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
    mat3 w = turn * sigma * transpose(turn);
    float inv = 1.0 / t.z;
    /* Far outside the picture the linearised projection is taken at the margin, where it is still sane. */
    vec2 bound = 0.65 * size / focal, slope = clamp(t.xy * inv, -bound, bound);
    vec3 jx = vec3(focal * inv, 0.0, -focal * slope.x * inv);
    vec3 jy = vec3(0.0, focal * inv, -focal * slope.y * inv);
    vec3 wx = w * jx, wy = w * jy;
    float xx = dot(jx, wx) + lowpass, xy = dot(jx, wy), yy = dot(jy, wy) + lowpass;
    float det = xx * yy - xy * xy;
    if (det <= 0.0) return;
    conic = vec3(yy, -xy, xx) / det;
    colour = texelFetch(data, ivec2(col + 3, row), 0);
    colour.a = a.w;
    /* Beyond this many standard deviations the Gaussian is fainter than 1/255. */
    float reach = sqrt(max(0.0, 2.0 * log(255.0 * colour.a)));
    vec2 extent = reach * sqrt(vec2(xx, yy)) + 0.5;
    offset = corner * extent;
    vec2 px = vec2(focal * t.x * inv, focal * t.y * inv) + offset;
    gl_Position = vec4(2.0 * px.x / size.x, -2.0 * px.y / size.y, 0.0, 1.0);
  }`;

  const FRAGMENT = `#version 300 es
  precision highp float;
  in vec2 offset; in vec4 colour; flat in vec3 conic; out vec4 result;
  void main() {
    float power = 0.5 * (conic.x * offset.x * offset.x + conic.z * offset.y * offset.y)
      + conic.y * offset.x * offset.y;
    float alpha = min(0.999, colour.a * exp(-power));
    if (power < 0.0 || alpha < 1.0 / 255.0) discard;
    result = vec4(colour.rgb * alpha, alpha);
  }`;

  /** Base64 text -> positions, covariances, colours, ready for the texture. */
  function decode(text, meta) {
    const raw = atob(text.trim()), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const n = meta.count, u16 = new DataView(bytes.buffer);
    const scales = 6 * n, quats = scales + 3 * n, rgba = quats + 4 * n;
    const rows = Math.max(1, Math.ceil(n / PER_ROW)), out = new Float32Array(rows * PER_ROW * TEXELS * 4);
    const mean = new Float32Array(3 * n);
    const lerp = (range, part) => range[0] + (range[1] - range[0]) * part;
    for (let i = 0; i < n; i++) {
      const o = i * TEXELS * 4;
      for (let k = 0; k < 3; k++) {
        mean[3 * i + k] = lerp(meta.box[k], u16.getUint16(6 * i + 2 * k, true) / 65535);
        out[o + k] = mean[3 * i + k];
        out[o + 12 + k] = bytes[rgba + 4 * i + k] / 255;
      }
      out[o + 3] = bytes[rgba + 4 * i + 3] / 255;
      let [w, x, y, z] = [0, 1, 2, 3].map((k) => bytes[quats + 4 * i + k] / 127 - 1);
      const length = Math.hypot(w, x, y, z) || 1;
      w /= length; x /= length; y /= length; z /= length;
      const r = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
      const v = [0, 1, 2].map((k) => Math.exp(2 * lerp(meta.log_scale, bytes[scales + 3 * i + k] / 255)));
      const cov = (p, q) => r[3 * p] * r[3 * q] * v[0] + r[3 * p + 1] * r[3 * q + 1] * v[1]
        + r[3 * p + 2] * r[3 * q + 2] * v[2];
      out[o + 4] = cov(0, 0); out[o + 5] = cov(0, 1); out[o + 6] = cov(0, 2);
      out[o + 7] = cov(1, 1); out[o + 8] = cov(1, 2); out[o + 9] = cov(2, 2);
    }
    return { n, rows, texture: out, mean, bytes, meta };
  }

  /** The model as a PLY of the 3DGS layout, y up: what `save_viewer_ply` writes, from the page's numbers. */
  function plyOf(model, comment) {
    const { n, mean, bytes, meta } = model, scales = 6 * n, quats = 9 * n, rgba = 13 * n;
    const names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1",
      "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"];
    const [low, high] = meta.log_scale, half = Math.SQRT1_2, kept = [];
    for (let i = 0; i < n; i++) if (bytes[rgba + 4 * i + 3] > 0) kept.push(i);
    const values = new DataView(new ArrayBuffer(4 * names.length * kept.length));
    kept.forEach((i, row) => {
      const [x, y, z] = mean.subarray(3 * i, 3 * i + 3);
      const colour = [0, 1, 2].map((k) => (bytes[rgba + 4 * i + k] / 255 - 0.5) / 0.28209479177387814);
      const a = Math.min(Math.max(bytes[rgba + 4 * i + 3] / 255, 1e-6), 1 - 1e-6);
      const size = [0, 1, 2].map((k) => low + (high - low) * bytes[scales + 3 * i + k] / 255);
      const [p, q, r, s] = [0, 1, 2, 3].map((k) => bytes[quats + 4 * i + k] / 127 - 1);
      const turned = [half * (p + q), half * (q - p), half * (r + s), half * (s - r)]; // a quarter turn about x
      [x, z, -y, 0, 0, 0, ...colour, Math.log(a / (1 - a)), ...size, ...turned].forEach((value, k) => {
        values.setFloat32(4 * (names.length * row + k), value, true);
      });
    });
    const header = ["ply", "format binary_little_endian 1.0", "comment " + comment,
      "element vertex " + kept.length, ...names.map((name) => "property float " + name), "end_header", ""];
    return new Blob([header.join("\n"), values], { type: "application/octet-stream" });
  }

  /** World-to-camera rotation (row-major; right, down, forward) and centre of an orbit camera, degrees. */
  function orbit(azimuth, elevation, distance) {
    const [a, e] = [azimuth * DEG, elevation * DEG];
    const forward = [-Math.cos(e) * Math.sin(a), Math.cos(e) * Math.cos(a), -Math.sin(e)];
    const right = [Math.cos(a), Math.sin(a), 0];
    const down = [
      forward[1] * right[2] - forward[2] * right[1],
      forward[2] * right[0] - forward[0] * right[2],
      forward[0] * right[1] - forward[1] * right[0]];
    return { rows: [right, down, forward], eye: forward.map((f) => -f * distance) };
  }

  /** Indices of the Gaussians from far to near: a counting sort over 16-bit depth. */
  function sorter(n) {
    const keys = new Uint16Array(n), counts = new Uint32Array(65537), order = new Uint32Array(n);
    const depth = new Float32Array(n);
    return (mean, f) => {
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < n; i++) {
        const d = f[0] * mean[3 * i] + f[1] * mean[3 * i + 1] + f[2] * mean[3 * i + 2];
        depth[i] = d;
        if (d < low) low = d;
        if (d > high) high = d;
      }
      const factor = 65535 / Math.max(high - low, 1e-9);
      counts.fill(0);
      for (let i = 0; i < n; i++) {
        keys[i] = (high - depth[i]) * factor;
        counts[keys[i] + 1]++;
      }
      for (let k = 0; k < 65536; k++) counts[k + 1] += counts[k];
      for (let i = 0; i < n; i++) order[counts[keys[i]]++] = i;
      return order;
    };
  }

  function compile(gl) {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  /** GPU state of one model; returns draw(camera, width, height, paper), paper being the background's colour. */
  function renderer(gl, model, view) {
    const program = compile(gl), at = (name) => gl.getUniformLocation(program, name);
    const u = Object.fromEntries(["turn", "eye", "size", "focal", "lowpass"].map((k) => [k, at(k)]));
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, PER_ROW * TEXELS, model.rows, 0, gl.RGBA, gl.FLOAT, model.texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.bindVertexArray(gl.createVertexArray());
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, 4 * model.n, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(1, 1);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const sort = sorter(model.n);
    return (camera, width, height, paper) => {
      gl.viewport(0, 0, width, height);
      gl.clearColor(...paper, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const m = camera.rows;
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, sort(model.mean, m[2]));
      gl.uniformMatrix3fv(u.turn, true, [...m[0], ...m[1], ...m[2]]);
      gl.uniform3fv(u.eye, camera.eye);
      gl.uniform2f(u.size, width, height);
      gl.uniform1f(u.focal, 0.5 * Math.min(width, height) / Math.tan(view.fov * DEG / 2));
      gl.uniform1f(u.lowpass, view.lowpass);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, model.n);
    };
  }

  /** Mouse, touch, wheel and keys change `state` and call `touched`. */
  function controls(canvas, state, touched) {
    const pointers = new Map();
    let pinch = 0;
    const zoom = (factor) => { state.distance = Math.min(8, Math.max(1.4, state.distance * factor)); };
    const tilt = (degrees) => { state.elevation = Math.min(85, Math.max(-85, state.elevation + degrees)); };
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      pinch = 0;
      touched();
    });
    canvas.addEventListener("pointermove", (e) => {
      const last = pointers.get(e.pointerId);
      if (!last) return;
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      if (pointers.size === 2) {
        const [p, q] = [...pointers.values()], gap = Math.hypot(p[0] - q[0], p[1] - q[1]);
        if (pinch) zoom(pinch / Math.max(gap, 1));
        pinch = gap;
      } else {
        state.azimuth -= (e.clientX - last[0]) * 0.6;
        tilt((e.clientY - last[1]) * 0.4);
      }
      touched();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (e) => { pointers.delete(e.pointerId); pinch = 0; });
    }
    /* Two fingers are the model's, not the page's; one finger still scrolls the page up and down. */
    for (const name of ["touchstart", "touchmove"]) {
      canvas.addEventListener(name, (e) => { if (e.touches.length > 1) e.preventDefault(); }, { passive: false });
    }
    canvas.addEventListener("wheel", (e) => {
      /* On a page that scrolls, the wheel belongs to the page until the model is chosen. */
      const scrolls = document.documentElement.scrollHeight > window.innerHeight + 1;
      if (scrolls && document.activeElement !== canvas && !e.ctrlKey) return;
      e.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY)) * 0.002));
      touched();
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const moves = { ArrowLeft: () => { state.azimuth += 6; }, ArrowRight: () => { state.azimuth -= 6; },
        ArrowUp: () => tilt(4), ArrowDown: () => tilt(-4), "+": () => zoom(0.9), "=": () => zoom(0.9),
        "-": () => zoom(1.1) };
      if (!moves[e.key]) return;
      e.preventDefault();
      moves[e.key]();
      touched();
    });
  }

  const ICONS = {
    full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
    reset: "M4 12a8 8 0 1 0 2.6-5.9L4 8.5M4 4v4.5h4.5",
    save: "M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14",
  };

  /** Buttons over a view: full screen, the first view again, the model as a file. */
  function tools(box, state, home, changed, model, view) {
    const bar = box.appendChild(document.createElement("div"));
    bar.className = "gs-tools";
    const add = (icon, label, act) => {
      const button = bar.appendChild(document.createElement("button"));
      button.type = "button";
      button.title = label;
      button.setAttribute("aria-label", label);
      button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
      button.addEventListener("click", act);
      return button;
    };
    /* Telephones give the full screen to films alone; there the view fills the page. */
    const fill = (on) => { box.classList.toggle("gs-full", on); changed(); };
    add("full", "Full screen", () => {
      if (document.fullscreenElement === box) document.exitFullscreen();
      else if (box.classList.contains("gs-full")) fill(false);
      else if (box.requestFullscreen) box.requestFullscreen().catch(() => fill(true));
      else fill(true);
    });
    box.addEventListener("keydown", (e) => { if (e.key === "Escape") fill(false); });
    add("reset", "First view again", () => { Object.assign(state, home); changed(); });
    add("save", "Download the model as PLY", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(plyOf(model, view.comment));
      link.download = box.dataset.model + ".ply";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  /** Turn one `.gs-viewer` into a live view; on failure its picture stays and a sentence says why. */
  function mount(box) {
    if (box.dataset.state) return;
    box.dataset.state = "starting";
    const note = (text) => {
      const line = box.querySelector(".gs-note") || box.appendChild(document.createElement("p"));
      line.className = "gs-note";
      line.textContent = text;
      box.dataset.state = "fallback";
    };
    const source = document.getElementById(box.dataset.model), canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, powerPreference: "low-power" });
    if (!gl) {
      note("This browser offers no WebGL2, so " + (box.querySelector("img")
        ? "the model is shown as a picture." : "the model cannot be shown here."));
      return;
    }
    const view = JSON.parse(source.dataset.view);
    const home = { azimuth: view.azimuth, elevation: view.elevation, distance: view.distance };
    const state = { ...home };
    const still = window.matchMedia("(prefers-reduced-motion: reduce)");
    let draw, model, last = 0, rest = 0, visible = true, dirty = true, queued = 0;
    try {
      model = decode(source.textContent, JSON.parse(source.dataset.meta));
      draw = renderer(gl, model, view);
    } catch (error) {
      note("The model could not be drawn here (" + error.message.trim() + ").");
      return;
    }
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", (box.dataset.label || "3D model")
      + ": drag or use the arrow keys to turn, the wheel, two fingers or plus and minus to zoom, double-click to return");
    box.appendChild(canvas);
    const changed = () => { dirty = true; schedule(); };
    controls(canvas, state, () => { rest = performance.now() + 2500; changed(); });
    canvas.addEventListener("dblclick", () => { Object.assign(state, home); changed(); });
    tools(box, state, home, changed, model, view);
    /* The page's own background, so that the model stands in the dark where the page is dark. */
    const paper = () => getComputedStyle(box).backgroundColor.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255);
    let background = paper();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      background = paper();
      changed();
    });
    /* At once, in the frame that has the new size: one frame later the old drawing would have been stretched. */
    new ResizeObserver(() => frame(performance.now())).observe(canvas);
    canvas.addEventListener("webglcontextlost", (e) => {
      e.preventDefault();
      canvas.remove();
      note("The graphics context was lost; reload the page to turn the model again.");
    });
    new IntersectionObserver((entries) => {
      visible = entries[entries.length - 1].isIntersecting;
      if (visible) schedule();
    }).observe(box);
    function schedule() {
      queued ||= requestAnimationFrame(frame);
    }
    function frame(now) {
      cancelAnimationFrame(queued);
      queued = 0;
      if (!visible || box.dataset.state === "fallback") return;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
        dirty = true;
      }
      const spins = view.spin && !still.matches && now > rest;
      if (spins && last) state.azimuth += view.spin * Math.min(now - last, 100) / 1000;
      last = now;
      if (spins || dirty) draw(orbit(state.azimuth, state.elevation, state.distance), width, height, background);
      dirty = false;
      box.dataset.state = "live";
      if (view.spin && !still.matches) schedule(); // nothing is drawn, or asked for, while nothing moves
    }
  }

  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      mount(entry.target);
    }
  }, { rootMargin: "200px" });
  for (const box of document.querySelectorAll(".gs-viewer")) sight.observe(box);
})();
