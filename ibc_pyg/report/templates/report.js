"use strict";
for (const svg of document.querySelectorAll("svg[data-curves]")) {
  const curves = JSON.parse(svg.dataset.curves);
  const cursor = svg.querySelector(".cursor");
  const output = svg.closest("figure").querySelector("output");
  const leave = () => { cursor.classList.remove("lit"); output.textContent = ""; };
  svg.addEventListener("pointermove", (event) => {
    const x = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse()).x;
    const near = curves.map((curve) => {
      let best = 0;
      curve.x.forEach((at, i) => {
        if (Math.abs(at - x) < Math.abs(curve.x[best] - x)) best = i;
      });
      return [curve, best];
    });
    const [first, at] = near[0];
    cursor.setAttribute("x1", first.x[at]);
    cursor.setAttribute("x2", first.x[at]);
    cursor.classList.add("lit");
    output.textContent = "step " + first.step[at].toLocaleString("en") + ": " +
      near.map(([curve, i]) => curve.name + " " + curve.value[i]).join(", ");
  });
  svg.addEventListener("pointerleave", leave);
}
for (const map of document.querySelectorAll(".map")) {
  const show = (key) => {
    map.classList.toggle("dim", key !== null);
    for (const part of map.querySelectorAll("g, text")) {
      part.classList.toggle("lit", part.dataset.class === key);
    }
  };
  for (const part of map.querySelectorAll("li[data-class], g[data-class]")) {
    part.addEventListener("pointerenter", () => show(part.dataset.class));
    part.addEventListener("pointerleave", () => show(null));
    part.addEventListener("focus", () => show(part.dataset.class));
    part.addEventListener("blur", () => show(null));
  }
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
