"use strict";
// Sort a table by the column whose heading was clicked: as numbers where all cells begin with one.
const asNumber = (text) => Number.parseFloat(text.replace(/,/g, ""));
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const texts = (column) => [...body.rows].map((row) => row.cells[column].textContent.trim());
  const isNumeric = (column) => {
    const filled = texts(column).filter((text) => text && text !== "-" && text !== "digital");
    return filled.length > 0 && filled.every((text) => /^[-+]?[\d,]*\.?\d/.test(text));
  };
  heads.forEach((head, column) => {
    const numeric = isNumeric(column);
    if (numeric) {
      for (const row of table.rows) row.cells[column]?.classList.add("figure");
    }
    head.querySelector("button").addEventListener("click", () => {
      const upward = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", upward ? "ascending" : "descending");
      const compare = (a, b) => {
        const [x, y] = [a, b].map((row) => row.cells[column].textContent.trim());
        if (!numeric) return x.localeCompare(y);
        const [n, m] = [asNumber(x), asNumber(y)];
        if (Number.isNaN(n) || Number.isNaN(m)) return Number.isNaN(n) - Number.isNaN(m);
        return n - m;
      };
      const rows = [...body.rows].sort(compare);
      body.append(...(upward ? rows : rows.reverse()));
    });
  });
}
