"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("map"), context = canvas.getContext("2d");
  const tip = document.getElementById("tip"), picture = document.getElementById("picture");
  const sheets = [...document.querySelectorAll("#sheets img")];
  const count = data.names.length, each = data.columns * data.columns;
  const x = new Float32Array(count), y = new Float32Array(count);
  for (let i = 0; i < count; i++) { x[i] = data.xy[2 * i] / 65535; y[i] = 1 - data.xy[2 * i + 1] / 65535; }
  const style = getComputedStyle(document.documentElement);
  const colours = [...Array(12).keys()].map((i) => style.getPropertyValue("--c" + i).trim());
  const plain = style.getPropertyValue("--soft").trim();
  let scale = 1, left = 0, top = 0, width = 0, height = 0, chosen = -1, hover = -1, drag = null;

  const across = Math.max(...x) - Math.min(...x), down = Math.max(...y) - Math.min(...y);
  const fit = () => {
    scale = 0.9 * Math.min(width / Math.max(across, 0.1), height / Math.max(down, 0.1));
    left = (width - scale) / 2; top = (height - scale) / 2;
  };
  const draw = () => {
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    // The side of a tile grows with the zoom; tiles are drawn where they do not cover each other much.
    const spacing = scale / Math.sqrt(count), side = Math.min(data.side, spacing * 0.6);
    const tiles = side >= 16, radius = Math.max(1.6, Math.min(5, spacing / 5));
    for (let i = 0; i < count; i++) {
      const px = left + x[i] * scale, py = top + y[i] * scale;
      if (px < -side || py < -side || px > width + side || py > height + side) continue;
      const kind = data.labels[i], faded = chosen >= 0 && kind !== chosen;
      context.globalAlpha = faded ? 0.12 : 1;
      context.fillStyle = kind >= 0 && kind < colours.length ? colours[kind] : plain;
      if (tiles) {
        tile(context, i, px - side / 2, py - side / 2, side);
        if (kind >= 0 && kind < colours.length) context.fillRect(px - side / 2, py + side / 2, side, 2);
      } else {
        context.beginPath(); context.arc(px, py, radius, 0, 2 * Math.PI); context.fill();
      }
    }
    context.globalAlpha = 1;
    if (hover >= 0) {
      const size = tiles ? side : 3 * radius;
      context.strokeStyle = style.getPropertyValue("--ink"); context.lineWidth = 2;
      context.strokeRect(left + x[hover] * scale - size / 2, top + y[hover] * scale - size / 2, size, size);
    }
  };
  const tile = (target, i, px, py, side) => {
    const sheet = sheets[Math.floor(i / each)], place = i % each;
    if (!sheet || !sheet.complete || !sheet.naturalWidth) return;
    target.drawImage(sheet, (place % data.columns) * data.side, Math.floor(place / data.columns) * data.side,
      data.side, data.side, px, py, side, side);
  };
  let waiting = false;
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
  const zoom = (factor, px, py) => {
    const limit = Math.min(width, height), next = Math.max(limit * 0.5, Math.min(limit * 400, scale * factor));
    left = px - (px - left) * next / scale; top = py - (py - top) * next / scale; scale = next; redraw();
  };
  const show = (px, py) => {
    let best = 24 * 24; hover = -1;
    for (let i = 0; i < count; i++) {
      const dx = left + x[i] * scale - px, dy = top + y[i] * scale - py, d = dx * dx + dy * dy;
      if (d < best) { best = d; hover = i; }
    }
    tip.hidden = hover < 0;
    if (hover >= 0) {
      const kind = data.labels[hover], pen = picture.getContext("2d");
      pen.clearRect(0, 0, 160, 160); tile(pen, hover, 0, 0, 160);
      tip.querySelector(".label").textContent = kind < 0 ? "" : data.classes[kind];
      tip.querySelector(".name").textContent = data.names[hover];
      tip.style.left = Math.max(0, Math.min(px + 18, width - 190)) + "px";
      tip.style.top = Math.max(0, Math.min(py + 18, height - 225)) + "px";
    }
    redraw();
  };
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0016), ...at(event)); }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { drag = at(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = at(event);
    if (drag) { left += px - drag[0]; top += py - drag[1]; drag = [px, py]; tip.hidden = true; redraw(); } else show(px, py);
  });
  canvas.addEventListener("pointerleave", () => { hover = -1; tip.hidden = true; redraw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) { left += step[0]; top += step[1]; event.preventDefault(); redraw(); }
    if (event.key === "+" || event.key === "=") zoom(1.4, width / 2, height / 2);
    if (event.key === "-") zoom(1 / 1.4, width / 2, height / 2);
  });
  document.getElementById("in").addEventListener("click", () => zoom(1.7, width / 2, height / 2));
  document.getElementById("out").addEventListener("click", () => zoom(1 / 1.7, width / 2, height / 2));
  document.getElementById("all").addEventListener("click", () => { fit(); redraw(); });
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const own = Number(button.dataset.class);
      chosen = chosen === own ? -1 : own;
      for (const other of document.querySelectorAll(".legend button")) other.setAttribute("aria-pressed", String(Number(other.dataset.class) === chosen));
      redraw();
    });
  }
  const resize = () => {
    const before = width;
    width = canvas.clientWidth; height = canvas.clientHeight;
    canvas.width = width * (devicePixelRatio || 1); canvas.height = height * (devicePixelRatio || 1);
    if (!before) fit();
    draw();
  };
  addEventListener("resize", resize);
  for (const sheet of sheets) sheet.addEventListener("load", redraw);
  const [zoomed, px, py] = location.hash.slice(1).split(",").map(Number);
  resize();
  if (zoomed > 0) { zoom(zoomed, (px || 0.5) * width, (py || 0.5) * height); show((px || 0.5) * width, (py || 0.5) * height); }
})();
