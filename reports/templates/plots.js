"use strict";
// Figures: drawn when they come into view, in the page's colours, by plotly, which the
// page carries compressed.
(() => {
  const { figures } = JSON.parse(document.getElementById("page-data").textContent);
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const STROKES = ["", "6 3", "2 2.5", "7 3 2 3"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();
  let library = null;

  async function load() {
    const packed = atob(document.getElementById("plotly-packed").textContent.trim());
    const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const source = await new Response(stream).blob();
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error("the plotting library does not load"));
      script.src = url;
      document.head.append(script);
    });
    URL.revokeObjectURL(url);
  }

  function isOn(element, rule) {
    const chips = [...element.closest(".plots").querySelectorAll(".chip")];
    const chip = chips.find((c) => c.dataset.rule === rule);
    return !chip || chip.getAttribute("aria-pressed") === "true";
  }

  function clear(hex, alpha) {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  }

  function dressed(element, traces) {
    return traces.map((trace) => {
      const { style, band, rule } = trace.meta;
      const hue = colour(`--c${style % 10}`);
      const kind = Math.floor(style / 10) % 4;
      const copy = { ...trace, showlegend: false, visible: isOn(element, rule) };
      if (band) return { ...copy, fillcolor: clear(hue, 0.13), line: { width: 0, color: hue } };
      copy.line = { color: hue, width: 2, dash: DASHES[kind] };
      copy.marker = { color: hue, size: 8, symbol: SYMBOLS[kind] };
      for (const bar of ["error_x", "error_y"])
        if (trace[bar]) copy[bar] = { ...trace[bar], color: clear(hue, 0.6), thickness: 1.4, width: 0 };
      return copy;
    });
  }

  function framed(layout) {
    const ink = colour("--ink"), soft = colour("--soft"), grid = colour("--grid");
    const axis = (given) => ({
      gridcolor: grid, linecolor: colour("--rule"), zeroline: false, ticks: "", automargin: true,
      tickfont: { color: soft, size: 12 }, ...given,
      title: { ...given.title, font: { color: soft, size: 12.5 }, standoff: 10 },
    });
    return {
      ...layout,
      xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif", color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 52, r: 12, t: 10, b: 46 }, hovermode: "closest", dragmode: false,
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: ink } },
    };
  }

  function draw(element) {
    const { data, layout } = figures[element.id][drawn.get(element) ?? 0];
    const options = { displayModeBar: false, responsive: true };
    return window.Plotly.react(element, dressed(element, data), framed(layout), options);
  }

  function redraw(within) {
    for (const element of drawn.keys()) if (within.contains(element)) draw(element);
  }

  const watcher = new IntersectionObserver((entries) => entries.forEach(async (entry) => {
    if (!entry.isIntersecting) return;
    watcher.unobserve(entry.target);
    try {
      await (library ??= load());
      drawn.set(entry.target, drawn.get(entry.target) ?? 0);
      await draw(entry.target);
      entry.target.dataset.drawn = "true";
    } catch (error) {
      entry.target.classList.add("failed");
      entry.target.textContent = `This figure could not be drawn (${error.message}). It takes a browser of 2023 or later.`;
    }
  }), { rootMargin: "300px" });

  document.querySelectorAll(".chip").forEach((chip) => {
    const line = chip.querySelector("line");
    const style = Number(chip.dataset.style);
    line.style.stroke = `var(--c${style % 10})`;
    line.style.strokeDasharray = STROKES[Math.floor(style / 10) % 4];
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      redraw(chip.closest(".plots"));
    });
  });
  document.querySelectorAll(".every").forEach((b) => b.addEventListener("click", () => {
    const group = b.closest(".plots");
    group.querySelectorAll(".chip").forEach((c) => c.setAttribute("aria-pressed", b.dataset.on));
    redraw(group);
  }));
  document.querySelectorAll(".choice select").forEach((select) =>
    select.addEventListener("change", () => {
      const element = document.getElementById(select.dataset.for);
      drawn.set(element, Number(select.value));
      if (window.Plotly) draw(element);
    }));
  document.addEventListener("themechange", () => redraw(document));
  document.querySelectorAll(".plot").forEach((element) => watcher.observe(element));
})();
