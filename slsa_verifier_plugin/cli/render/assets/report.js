"use strict";
(() => {
  const table = document.getElementById("images");
  const body = table.tBodies[0];
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent : cell.dataset.key;
  };

  const sortBy = (head) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    const column = head.cellIndex;
    for (const other of head.parentElement.cells) {
      if (other !== head) other.removeAttribute("aria-sort");
    }
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = new Intl.Collator("en", { numeric: true });
    const rows = Array.from(body.rows, (row) => [keyOf(row, column), row]);
    rows.sort((a, b) => (ascending ? 1 : -1) * order.compare(a[0], b[0]));
    body.append(...rows.map((pair) => pair[1]));
  };

  const narrow = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${body.rows.length} shown`;
  };

  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }
  filter.addEventListener("input", narrow);
  document.querySelector(".filter").hidden = false;
  narrow();
})();
