// Sorting and filtering. Without it the page is the same, in the order it was written.
(() => {
  "use strict";
  const tables = [...document.querySelectorAll("table.board")];

  function value(row, column) {
    const cell = row.cells[column];
    const number = cell.dataset.value;
    return number === undefined ? cell.textContent.trim() : number === "" ? null : Number(number);
  }

  function order(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }

  function sort(table, column, header) {
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    // What has no value stands last in both directions.
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      if (x === null || y === null) return (x === null) - (y === null);
      return up ? order(x, y) : order(y, x);
    });
    body.append(...rows);
  }

  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sort(table, column, header));
      header.replaceChildren(button);
      header.setAttribute("aria-sort", "none");
    });
  }

  const form = document.getElementById("filters");
  const count = document.getElementById("count");

  function filter() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const run = form.elements.run.value;
    const kind = form.elements.kind.value;
    for (const table of tables) {
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const fits = (!run || row.dataset.run === run) && (!kind || row.dataset.kind === kind) &&
          words.every((word) => row.dataset.words.includes(word));
        row.hidden = !fits;
        shown += fits;
      }
      if (table === tables[0]) count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    }
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  filter();
})();
