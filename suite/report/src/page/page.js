// What a script adds to the page: the theme's switch, sorting, filters, and a choice of completions.
// Without it everything is there to read; nothing here fetches or stores anything but the theme.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // A page opened from a file may be denied storage.
  const store = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const theme = byId("theme");
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const setTheme = (name) => {
    if (name === "dark" || name === "light") root.dataset.theme = name;
    theme.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  setTheme(store());
  theme.addEventListener("click", () => setTheme(store(isDark() ? "light" : "dark") ?? (isDark() ? "light" : "dark")));

  // Sorting: every header of a sortable table becomes a button.
  const measure = byId("sort-measure");
  const value = (cell, table) => {
    if (table.id === "board" && measure.value === "g" && cell.dataset.v) return Number(cell.dataset.g ?? NaN);
    if (cell.dataset.v) return Number(cell.dataset.v);
    const text = cell.textContent.trim();
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? 1 : -1;
  };
  const missing = (v) => v === "–" || Number.isNaN(v);
  const sort = (table, column, direction) => {
    all("thead th", table).forEach((th, i) => {
      if (i === column) th.setAttribute("aria-sort", direction < 0 ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [value(row.cells[column], table), row]);
    // What is missing stays last, whichever way.
    keyed.sort(([a], [b]) => missing(a) - missing(b) || direction * compare(a, b));
    body.append(...keyed.map(([, row]) => row));
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => {
        const now = th.getAttribute("aria-sort");
        // Numbers are read from the largest.
        const numeric = typeof value(table.tBodies[0].rows[0].cells[column], table) === "number";
        const first = numeric ? -1 : 1;
        sort(table, column, now ? (now === "descending" ? 1 : -1) : first);
      });
    });
  }

  // The table's filters.
  const board = byId("board");
  const filter = () => {
    const [row, kind, family, level] = ["row", "kind", "family", "level"].map((name) => byId(`filter-${name}`).value);
    let count = 0;
    for (const tr of board.tBodies[0].rows) {
      const fits =
        tr.dataset.row.includes(row.trim()) && (!kind || tr.dataset.kind === kind) && (!family || tr.dataset.family === family);
      tr.hidden = !fits;
      count += fits;
    }
    board.dataset.level = level;
    byId("board-status").textContent = `${count} of ${board.tBodies[0].rows.length} rows`;
  };
  for (const name of ["row", "kind", "family", "level"]) byId(`filter-${name}`).addEventListener("input", filter);
  measure.addEventListener("input", () => {
    const column = all("thead th", board).findIndex((th) => th.hasAttribute("aria-sort"));
    if (column >= 0) sort(board, column, board.tHead.rows[0].cells[column].getAttribute("aria-sort") === "descending" ? -1 : 1);
  });
  filter();

  // Completions: one question at a time, the rows of the figures.
  const boxes = all(".legend input");
  const pick = ["question", "rows", "outcome"].map((name) => byId(`pick-${name}`));
  const choose = () => {
    if (!pick[0]) return;
    const [question, rows, outcome] = pick.map((select) => select.value);
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let count = 0;
    for (const exhibit of all(".exhibit")) {
      exhibit.hidden = Boolean(question) && exhibit.id !== question;
      if (exhibit.id === question) exhibit.open = true;
      for (const answer of all(".answer", exhibit)) {
        const fits =
          (rows === "all" || shown.has(answer.dataset.row)) && (!outcome || answer.dataset.outcome === outcome);
        answer.hidden = !fits;
        count += fits && !exhibit.hidden;
      }
    }
    byId("completions-status").textContent = `${count} completions`;
  };
  if (pick[0]) {
    if (pick[0].options.length > 1) pick[0].selectedIndex = 1;
    pick.forEach((select) => select.addEventListener("input", choose));
    byId("open-all").addEventListener("click", () => {
      const visible = all(".exhibit:not([hidden]) .answer:not([hidden])");
      const open = visible.some((answer) => !answer.open);
      visible.forEach((answer) => (answer.open = open));
      byId("open-all").textContent = open ? "Close these" : "Open these";
    });
  }
  boxes.forEach((box) => box.addEventListener("change", choose));
  for (const button of all("[data-show]")) {
    button.addEventListener("click", () => {
      for (const box of boxes) {
        box.checked = button.dataset.show === "default" ? box.defaultChecked : button.dataset.show === "all";
      }
      choose();
    });
  }
  choose();
})();
