"use strict";
// Tables, figures' switches, configurations, downloads and the theme. Nothing here fetches.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");

  function remembered() {
    try { return localStorage.getItem("bioplaus-theme"); } catch { return null; }
  }

  function setTheme(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}; change`);
  }

  let theme = themes.includes(remembered()) ? remembered() : "auto";
  setTheme(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("bioplaus-theme", theme); } catch { /* the page works without */ }
    setTheme(theme);
  });

  // ---- data: unpacked when something first asks for it
  let unpacked = null;
  async function data() {
    unpacked ??= (async () => {
      const text = atob(document.getElementById("page-data").textContent.trim());
      const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      return JSON.parse(await new Response(stream).text());
    })();
    return unpacked;
  }

  // ---- what the address says: filters and hidden columns
  const asked = new URLSearchParams(location.search);
  function remember(key, value) {
    if (value) asked.set(key, value);
    else asked.delete(key);
    const query = asked.toString();
    try {
      history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}${location.hash}`);
    } catch { /* some browsers refuse it for files */ }
  }

  // ---- sorting: what a cell sorts by is its number, or its text; null where nothing is known
  function value(cell) {
    const given = cell.dataset.sort;
    const text = given === undefined ? cell.textContent.trim() : given;
    if (text === "-" || text === "") return null;
    const number = text === "inf" ? Infinity : Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en");
    return typeof a === "number" ? -1 : 1;
  }

  function sort(table, column) {
    const headers = [...table.tHead.rows[0].cells];
    const header = headers[column];
    const name = header.textContent.trim();
    const numeric = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const first = numeric && name !== "Rank" && name !== "p" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const direction = before === first ? second : first;
    headers.forEach((h) => h.setAttribute("aria-sort", h === header ? direction : "none"));
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // unknown stays last
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function filter(box, table, output) {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    const shown = rows.filter((row) => !row.hidden).length;
    output.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  }

  function hide(table, hidden) {
    all("[class^='c']", table).forEach((cell) => {
      const column = Number(/^c(\d+) /.exec(`${cell.className} `)?.[1] ?? -1);
      if (column >= 0) cell.classList.toggle("gone", hidden.has(column));
    });
  }

  // ---- downloads: RFC 4180; text that a spreadsheet would take for a formula gets an apostrophe
  function field(v) {
    if (v === null || v === undefined) return "";
    if (typeof v === "number") return String(v);
    let text = String(v);
    if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function download(name, rows) {
    const text = rows.map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- rows that are drawn as they come into view
  const STEP = 60;
  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function drawnRow(cells, heads) {
    const row = element("tr");
    cells.forEach(([text, note, kind, link], i) => {
      const isRule = heads[i].textContent.trim() === "Rule";
      const cell = element(isRule ? "th" : "td", "", heads[i].className);
      if (isRule) cell.scope = "row";
      if (kind && kind !== "interval" && kind !== "bars") cell.classList.add(kind);
      if (link) {
        const a = element("a", text);
        a.href = `#${link}`;
        cell.append(a);
      } else cell.append(text);
      if (note) cell.append(element("small", note));
      row.append(cell);
    });
    return row;
  }

  async function open(details) {
    const box = details.querySelector(".scroll");
    if (box.dataset.filled) return;
    box.dataset.filled = "true";
    const source = document.getElementById(details.dataset.table);
    const rows = (await data()).others[details.dataset.table];
    const heads = [...source.tHead.rows[0].cells];
    const table = element("table");
    const head = element("thead"), line = element("tr"), body = element("tbody");
    heads.forEach((h) => { const th = element("th", h.textContent, h.className); th.scope = "col"; line.append(th); });
    head.append(line);
    table.append(head, body);
    box.append(table);
    let next = 0;
    const end = element("div", "", "end");
    box.append(end);
    function more() {
      body.append(...rows.slice(next, next + STEP).map((cells) => drawnRow(cells, heads)));
      next += STEP;
      if (next >= rows.length) { watcher.disconnect(); end.remove(); }
    }
    const watcher = new IntersectionObserver((seen) => { if (seen.some((s) => s.isIntersecting)) more(); },
      { root: box, rootMargin: "400px" });
    more();
    if (end.isConnected) watcher.observe(end);
  }

  all(".table").forEach((box) => {
    const table = box.querySelector("table");
    const input = box.querySelector(".filter");
    const output = box.querySelector(".shown");
    const key = table.id.replace(/-table$/, "");
    all("thead button", table).forEach((b, i) => b.addEventListener("click", () => sort(table, i)));
    input.addEventListener("input", () => {
      filter(input, table, output);
      remember(`q.${key}`, input.value.trim());
    });
    const hidden = new Set((asked.get(`hide.${key}`) ?? "").split(",").filter(Boolean).map(Number));
    all("[data-column]", box).forEach((check) => {
      const column = Number(check.dataset.column);
      check.checked = !hidden.has(column);
      check.addEventListener("change", () => {
        if (check.checked) hidden.delete(column);
        else hidden.add(column);
        hide(table, hidden);
        remember(`hide.${key}`, [...hidden].sort((a, b) => a - b).join(","));
      });
    });
    if (hidden.size) hide(table, hidden);
    if (asked.get(`q.${key}`)) {
      input.value = asked.get(`q.${key}`);
      filter(input, table, output);
    }
    box.querySelector(".csv").addEventListener("click", async () =>
      download(box.dataset.name, (await data()).tables[table.id]));
    box.querySelector(".others")?.addEventListener("toggle", (e) => { if (e.target.open) open(e.target); });
  });

  // a table that is wider than its box says so
  const fits = new ResizeObserver((boxes) => boxes.forEach(({ target }) => {
    const hint = target.parentElement.querySelector(":scope > .tools .more");
    if (hint) hint.hidden = target.scrollWidth <= target.clientWidth + 1;
  }));
  all(".table > .scroll").forEach((box) => fits.observe(box));

  all(".download").forEach((b) => b.addEventListener("click", async () =>
    download(`bioplaus-${b.dataset.key}`, (await data())[b.dataset.key])));

  all(".copy").forEach((b) => b.addEventListener("click", async () => {
    const code = b.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(code.textContent);
      b.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      b.textContent = "Selected";
    }
    setTimeout(() => { b.textContent = "Copy"; }, 1500);
  }));

  // ---- a configuration, from a link in a table or in the address
  const dialog = document.getElementById("configuration");
  async function follow() {
    const name = decodeURIComponent(location.hash.slice(1));
    if (name.startsWith("cell-")) {
      const found = (await data()).configurations[name];
      if (!found) return;
      const [title, content, command, digest] = found;
      dialog.querySelector("h3").textContent = title;
      dialog.querySelector(".command").textContent = command;
      dialog.querySelector(".content").textContent = content;
      dialog.querySelector(".digest").textContent = `cell ${digest}`;
      if (!dialog.open) dialog.showModal();
      return;
    }
    const target = name && document.getElementById(name);
    if (!target) return;
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    target.scrollIntoView();
  }
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  addEventListener("hashchange", follow);
  document.addEventListener("click", (e) => {
    const link = e.target.closest?.("a[href^='#cell-']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  follow();

  // ---- figures: the switches of rules, with the marker that each has
  const DASHES = ["", "7 3", "2 3", "8 3 2 3"];
  const SHAPES = [
    "M9 5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", "M9.4 1.4h7.2v7.2h-7.2Z", "M13 0l5 5l-5 5l-5 -5Z",
    "M13 0.5l5 8h-10Z", "M13 9.5l5 -8h-10Z",
    "M11.5 0.6h3v2.9h2.9v3h-2.9v2.9h-3v-2.9h-2.9v-3h2.9Z",
  ];
  const NS = "http://www.w3.org/2000/svg";
  function svg(tag, attributes) {
    const made = document.createElementNS(NS, tag);
    Object.entries(attributes).forEach(([k, v]) => made.setAttribute(k, v));
    return made;
  }

  all(".plots").forEach((group) => {
    const chips = all(".chip", group);
    const parts = new Map();
    all("[data-rule]", group).forEach((g) => {
      if (g.tagName !== "g") return;
      if (!parts.has(g.dataset.rule)) parts.set(g.dataset.rule, []);
      parts.get(g.dataset.rule).push(g);
    });
    function set(chip, on) {
      chip.setAttribute("aria-pressed", String(on));
      (parts.get(chip.dataset.rule) ?? []).forEach((g) => g.classList.toggle("off", !on));
    }
    chips.forEach((chip, i) => {
      const style = Number(chip.dataset.style);
      const picture = chip.querySelector("svg");
      picture.append(
        svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, class: `s${style % 7}`,
          "stroke-dasharray": DASHES[Math.floor(style / 7) % 4] }),
        svg("path", { d: SHAPES[style % 6], class: `fill s${style % 7}` }));
      set(chip, chip.getAttribute("aria-pressed") === "true");
      chip.addEventListener("click", () => set(chip, chip.getAttribute("aria-pressed") !== "true"));
      chip.addEventListener("pointerenter", () => {
        group.classList.add("picked");
        (parts.get(chip.dataset.rule) ?? []).forEach((g) => g.classList.add("pick"));
      });
      chip.addEventListener("pointerleave", () => {
        group.classList.remove("picked");
        (parts.get(chip.dataset.rule) ?? []).forEach((g) => g.classList.remove("pick"));
      });
      // one stop for all of them; arrows go from one to the next
      chip.addEventListener("keydown", (e) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
        if (!step) return;
        e.preventDefault();
        const next = chips[(i + step + chips.length) % chips.length];
        chip.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      });
    });
    all(".every", group).forEach((b) => b.addEventListener("click", () =>
      chips.forEach((c) => set(c, b.dataset.on === "true"))));
  });
  root.dataset.ready = "true";
})();
