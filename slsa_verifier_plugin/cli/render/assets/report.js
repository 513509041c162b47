"use strict";
(() => {
  const list = document.getElementById("images");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const active = document.getElementById("active");
  const rows = Array.from(list.children);
  const filters = new Map();
  const matches = {
    decision: (row, value) => row.dataset.decision === value,
    reason: (row, value) => row.dataset.reason === value,
    level: (row, value) => row.dataset.level === value,
    namespace: (row, value) => row.dataset.namespaces.includes(`|${value}|`),
  };
  // A row's text is read once, and only where somebody searches: thousands of rows have megabytes of it.
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  // Not querySelector, which costs a millisecond a row.
  const cellOf = (row, number) => row.firstElementChild.firstElementChild.children[number].lastElementChild.textContent;
  const keys = {
    image: (row) => cellOf(row, 0),
    namespaces: (row) => row.dataset.namespaces,
    order: (row) => row.dataset.order,
    rank: (row) => row.dataset.rank,
    reason: (row) => row.dataset.reason,
    source: (row) => cellOf(row, 5),
  };

  const narrow = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = Array.from(filters);
    let count = 0;
    for (const row of rows) {
      const kept = asked.every(([kind, value]) => matches[kind](row, value))
        && words.every((word) => textOf(row).includes(word));
      row.hidden = !kept;
      count += kept ? 1 : 0;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
    for (const button of document.querySelectorAll("button[data-filter]")) {
      button.setAttribute("aria-pressed", String(filters.get(button.dataset.filter) === button.dataset.value));
    }
    active.replaceChildren(...asked.map(([kind, value]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `\u00d7 ${kind}: ${value}`;
      button.addEventListener("click", () => { filters.delete(kind); narrow(); search.focus(); });
      return button;
    }));
  };

  const sortBy = (button) => {
    const up = button.dataset.direction !== "up";
    for (const other of document.querySelectorAll("button[data-sort]")) {
      delete other.dataset.direction;
      other.removeAttribute("aria-description");
    }
    button.dataset.direction = up ? "up" : "down";
    button.setAttribute("aria-description", up ? "sorted, lowest first" : "sorted, highest first");
    const order = new Intl.Collator("en", { numeric: true });
    const key = keys[button.dataset.sort];
    const pairs = rows.map((row) => [key(row), row]);
    pairs.sort((a, b) => (up ? 1 : -1) * order.compare(a[0], b[0]));
    // Rows move three times as fast where nobody can see them.
    const { parentElement, nextElementSibling } = list;
    list.remove();
    list.append(...pairs.map((pair) => pair[1]));
    parentElement.insertBefore(list, nextElementSibling);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.sort) sortBy(button);
    if (!button.dataset.filter) return;
    const { filter, value } = button.dataset;
    const part = event.target.closest("[data-level]");
    if (part) filters.set("level", part.dataset.level);
    if (filters.get(filter) === value && !part) filters.delete(filter);
    else filters.set(filter, value);
    narrow();
  });
  search.addEventListener("input", narrow);

  // On paper nothing can be opened: every row is, and those that were closed are closed again.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const item of closed) item.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const item of closed) item.open = false;
  });

  document.documentElement.classList.add("scripted");
  document.querySelector(".tools").hidden = false;
  narrow();
})();
