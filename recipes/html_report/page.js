"use strict";
// Sort a table by the column whose heading was clicked: by value where all cells are numbers,
// shares, decibels or times, else as text. Empty cells come last.
const SECONDS = { s: 1, min: 60, h: 3600, day: 86400, days: 86400, year: 31536000, years: 31536000 };
const QUANTITY = /^([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*(%|dB|s|min|h|days?|years?)?$/i;
const valueOf = (text) => {
  const found = QUANTITY.exec(text);
  return found ? Number(found[1].replace(/,/g, "")) * (SECONDS[found[2]] ?? 1) : Number.NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const textOf = (row) => row.cells[column].textContent.trim();
    const filled = [...body.rows].map(textOf).filter((text) => !["", "-", "digital"].includes(text));
    const numeric = filled.length > 0 && filled.every((text) => !Number.isNaN(valueOf(text)));
    if (numeric) {
      for (const row of table.rows) row.cells[column]?.classList.add("figure");
    }
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const compare = (a, b) => {
        const [x, y] = [textOf(a), textOf(b)];
        if (!numeric) return sign * x.localeCompare(y, "en", { numeric: true });
        const [n, m] = [valueOf(x), valueOf(y)];
        if (Number.isNaN(n) || Number.isNaN(m)) return Number.isNaN(n) - Number.isNaN(m);
        return sign * (n - m);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
