// Shows the rows of a table that contain every word of the field above it.
for (const field of document.querySelectorAll("input.filter")) {
  const rows = document.querySelectorAll(`#${field.dataset.table} tbody tr`);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
