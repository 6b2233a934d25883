"use strict";
// Tables, downloads and the theme. Nothing here fetches anything.
(() => {
  const root = document.documentElement;
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
    document.dispatchEvent(new Event("themechange"));
  }

  let theme = themes.includes(remembered()) ? remembered() : "auto";
  setTheme(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("bioplaus-theme", theme); } catch { /* the page works without */ }
    setTheme(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.dispatchEvent(new Event("themechange")));

  // What a cell sorts by: its number, or its text; null where nothing is known.
  function value(cell) {
    const given = cell.dataset.sort;
    const text = given === undefined ? cell.textContent.trim() : given;
    if (text === "-" || text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en");
    return typeof a === "number" ? -1 : 1;
  }

  function sort(table, column) {
    const headers = [...table.tHead.rows[0].cells];
    const header = headers[column];
    const numeric = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const first = numeric && header.textContent.trim() !== "Rank" ? "descending" : "ascending";
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

  // RFC 4180; text that a spreadsheet would take for a formula gets an apostrophe.
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

  function exported(cell) {
    const note = cell.querySelector("small");
    const text = cell.dataset.sort ?? cell.textContent.slice(
      0, cell.textContent.length - (note ? note.textContent.length : 0)).trim();
    if (text === "-") return null;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  }

  function asRows(table) {
    const names = [...table.tHead.rows[0].cells].map((c) => c.textContent.trim());
    const notes = [...table.tHead.rows[0].cells].map((c, i) =>
      [...table.tBodies[0].rows].some((row) => row.cells[i].querySelector("small")));
    const line = (make) => names.flatMap((name, i) => make(name, i));
    const heading = line((name, i) => notes[i] ? [name, `${name}: note`] : [name]);
    const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    return [heading, ...shown.map((row) => line((_, i) => {
      const cell = row.cells[i];
      const note = cell.querySelector("small");
      return notes[i] ? [exported(cell), note ? note.textContent : null] : [exported(cell)];
    }))];
  }

  document.querySelectorAll(".table").forEach((box) => {
    const table = box.querySelector("table");
    const input = box.querySelector(".filter");
    const output = box.querySelector(".shown");
    table.tHead.querySelectorAll("button").forEach((b, i) =>
      b.addEventListener("click", () => sort(table, i)));
    input.addEventListener("input", () => filter(input, table, output));
    box.querySelector(".csv").addEventListener("click", () =>
      download(box.dataset.name, asRows(table)));
  });

  const data = JSON.parse(document.getElementById("page-data").textContent);
  document.querySelectorAll(".download").forEach((b) =>
    b.addEventListener("click", () => download(`bioplaus-${b.dataset.key}`, data[b.dataset.key])));

  document.querySelectorAll(".copy").forEach((b) => b.addEventListener("click", async () => {
    const code = b.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      b.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      b.textContent = "Selected";
    }
    setTimeout(() => { b.textContent = "Copy"; }, 1500);
  }));

  // A link to a folded part opens it.
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
  }
  addEventListener("hashchange", unfold);
  unfold();
})();
