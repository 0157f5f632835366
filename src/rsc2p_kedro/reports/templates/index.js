// The page over all recordings: sorts and filters rows that are already in the page; it never writes markup.
"use strict";

const CLOSED_ABOVE = 40; // recordings; beyond that many, the page opens with its animals collapsed
const find = (id) => document.getElementById(id);
const table = document.querySelector("table");

function start() {
  const groups = [...table.tBodies].map((body) => ({ body, header: body.rows[0], rows: [...body.rows].slice(1) }));
  const all = groups.flatMap((group) => group.rows);
  const flat = document.createElement("tbody"); // holds the rows while they are not grouped by animal
  const text = new Map(all.map((row) => [row, `${row.dataset.name} ${row.querySelector(".checks").textContent}`.toLowerCase()]));
  const state = { key: null, falling: false, level: "", grouped: true };
  const compareNames = new Intl.Collator(undefined, { numeric: true }).compare;

  // What a row, of a recording or an animal, is sorted by; null where the value is missing.
  function valueOf(row, key) {
    if (key === "name") return row.dataset.name;
    const value = key === "level" ? row.dataset.level : numberCells.get(row)[Number(key)].dataset.value;
    return value === "" ? null : Number(value);
  }

  const numberCells = new Map([...all, ...groups.map((group) => group.header)].map((row) => [row, row.querySelectorAll("[data-value]")]));

  function compare(a, b) {
    if (state.key === null) return 0;
    const [x, y] = [valueOf(a, state.key), valueOf(b, state.key)];
    if (x === null || y === null) return (x === null) - (y === null); // missing values come last in both directions
    const order = state.key === "name" ? compareNames(x, y) : x - y;
    return state.falling ? -order : order;
  }

  function arrange() {
    if (state.grouped) {
      flat.remove();
      for (const { body, header, rows } of groups) body.replaceChildren(header, ...[...rows].sort(compare));
      table.append(...[...groups].sort((a, b) => compare(a.header, b.header)).map((group) => group.body));
    } else {
      for (const { body } of groups) body.remove();
      flat.replaceChildren(...[...all].sort(compare));
      table.append(flat);
    }
    filter();
  }

  function filter() {
    const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(all.filter((row) => (state.level === "" || row.dataset.level === state.level) && words.every((word) => text.get(row).includes(word))));
    for (const row of all) row.hidden = !shown.has(row);
    for (const { body, header, rows } of groups) {
      header.hidden = !rows.some((row) => shown.has(row));
      body.classList.toggle("filtered", words.length > 0 || state.level !== "");
    }
    find("count").textContent = shown.size === all.length ? "" : `${shown.size} of ${all.length} recordings`;
  }

  function setOpen(body, open) {
    body.classList.toggle("closed", !open);
    body.querySelector("tr.animal button").setAttribute("aria-expanded", open);
  }

  for (const { body, header } of groups)
    header.querySelector("button").addEventListener("click", () => setOpen(body, body.classList.contains("closed")));
  for (const [id, open] of [["expand", true], ["collapse", false]])
    find(id).addEventListener("click", () => groups.forEach(({ body }) => setOpen(body, open)));
  for (const heading of table.querySelectorAll("th[data-key]"))
    heading.querySelector("button").addEventListener("click", () => {
      const key = heading.dataset.key;
      state.falling = state.key === key ? !state.falling : key !== "name"; // numbers: the largest first
      state.key = key;
      for (const other of table.querySelectorAll("th[data-key]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", state.falling ? "descending" : "ascending");
      arrange();
    });
  for (const button of document.querySelectorAll("button[data-level]"))
    button.addEventListener("click", () => {
      state.level = button.dataset.level;
      for (const other of document.querySelectorAll("button[data-level]")) other.setAttribute("aria-pressed", other === button);
      filter();
    });
  find("grouped").addEventListener("change", (event) => {
    state.grouped = event.target.checked;
    for (const id of ["expand", "collapse"]) find(id).disabled = !state.grouped;
    arrange();
  });
  find("filter").addEventListener("input", filter);
  if (all.length > CLOSED_ABOVE) groups.forEach(({ body }) => setOpen(body, false));
  filter();
}

if (table !== null) start();
