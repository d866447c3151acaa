// Tables: sorted, filtered, in pages, saved as CSV. Each cell carries its text, the number it is sorted by and its
// fields in a CSV file. A column is kept as its different cells and, for each row, which of them it has; so 200,000
// rows are sorted and filtered at once. Long tables come packed, others are on the page; each comes to life when it is
// first seen.
const PAGE = 25;
const FEW = 8; // rows that nobody filters
const COLLATOR = new Intl.Collator(undefined, { numeric: true });
const WIDTHS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function unpack(id) {
  const packed = new Blob([bytesOf(document.getElementById(id).textContent)]);
  return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A number as somebody types it; 8/255 is a fraction.
function numberOf(typed) {
  const [above, below = 1] = typed.split("/").map(Number);
  return above / below;
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function cellOf(parts, number, csv) {
  const text = parts.join(" ");
  return { parts, text, number, csv: csv ?? quoted(text) };
}

function compare(one, other) {
  const [a, b] = [one.number, other.number];
  if (a !== null && b !== null && a !== b) return a - b;
  return (a === null) - (b === null) || COLLATOR.compare(one.text, other.text);
}

function columnOf(heading, csv, right, cells, codes) {
  const empty = (at) => cells[at].number === null && (right || cells[at].text === "");
  let ranks = null;
  return {
    heading, csv, right, cells, codes, empty,
    get ranks() {
      if (!ranks) {
        ranks = new Uint32Array(cells.length);
        const full = cells.map((_, at) => at).filter((at) => !empty(at)).sort((one, other) => compare(cells[one], cells[other]));
        full.forEach((at, rank) => { ranks[at] = rank; });
      }
      return ranks;
    },
  };
}

function readColumns(table) {
  return [...table.tHead.rows[0].cells].map((head, at) => {
    const cells = [...table.tBodies[0].rows].map(({ cells: { [at]: cell } }) => cellOf(
      [cell.textContent], cell.dataset.sort ? Number(cell.dataset.sort) : null, cell.dataset.csv,
    ));
    const right = head.classList.contains("right");
    return columnOf(head.textContent, head.dataset.csv, right, cells, cells.map((_, row) => row));
  });
}

async function unpackColumns(id) {
  return JSON.parse(await unpack(id)).map((column) => columnOf(
    column.heading, column.csv, column.right, column.cells.map((cell) => cellOf(...cell)),
    new WIDTHS[column.bytes](bytesOf(column.codes).buffer),
  ));
}

// Which of a column's different cells a text selects: all that contain it, or the numbers within a bound.
function matches(column, typed) {
  const bound = /^(<=|>=|<|>|=)\s*(\S+)$/.exec(typed.trim());
  if (bound && !Number.isNaN(numberOf(bound[2]))) {
    const limit = numberOf(bound[2]);
    const fits = { "<": (x) => x < limit, ">": (x) => x > limit, "<=": (x) => x <= limit, ">=": (x) => x >= limit,
      "=": (x) => x === limit }[bound[1]];
    return column.cells.map(({ number }) => number !== null && fits(number));
  }
  const wanted = typed.trim().toLowerCase();
  return column.cells.map(({ text }) => text.toLowerCase().includes(wanted));
}

function select(columns, count, words, byColumn) {
  const tests = words.map((word) => columns.map((column) => matches(column, word)));
  const bounds = byColumn.map((typed, at) => (typed.trim() ? matches(columns[at], typed) : null));
  const chosen = [];
  for (let row = 0; row < count; row += 1) {
    if (bounds.every((kept, at) => !kept || kept[columns[at].codes[row]])
      && tests.every((test) => test.some((kept, at) => kept[columns[at].codes[row]]))) chosen.push(row);
  }
  return chosen;
}

function arrange(rows, column, down) {
  const { ranks, codes, empty } = column;
  const last = (row) => (empty(codes[row]) ? 1 : 0);
  const order = (one, other) => ranks[codes[one]] - ranks[codes[other]];
  return rows.sort((one, other) => last(one) - last(other) || (down ? -order(one, other) : order(one, other))
    || one - other);
}

function shownCell(column, row) {
  const { parts, text, number, csv } = column.cells[column.codes[row]];
  if (!column.right) return make("td", { className: text.length < 26 ? "short" : "long", textContent: text });
  const details = parts.slice(1).map((part) => make("span", { className: "range", textContent: ` ${part}` }));
  const exact = number === null || csv === text || csv.includes(",") ? "" : csv;
  return make("td", { className: "right", title: exact }, parts[0], ...details);
}

function csvOf(columns, rows) {
  const lines = [columns.map((column) => column.csv).join(",")];
  for (const row of rows) lines.push(columns.map((column) => column.cells[column.codes[row]].csv).join(","));
  return lines.join("\n") + "\n";
}

function save(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function liven(place) {
  const table = place.querySelector("table");
  const packed = place.dataset.packed;
  const columns = packed ? await unpackColumns(packed) : readColumns(table);
  const count = columns[0].codes.length;
  const whole = packed ? null : [...table.tBodies[0].rows];
  const size = packed ? PAGE : Infinity;
  const state = { rows: select(columns, count, [], []), page: 0, column: null, down: false };

  const filter = make("input", { type: "search", placeholder: "Filter" });
  filter.setAttribute("aria-label", `Filter: ${place.querySelector("h3").textContent}`);
  const told = make("span", { className: "count" });
  told.setAttribute("aria-live", "polite");
  const csv = make("button", { type: "button", textContent: "CSV", title: "Save the rows that are shown as CSV" });
  csv.onclick = () => save(`${place.dataset.name}.csv`, csvOf(columns, state.rows));
  place.append(make("div", { className: "tools" }, csv));
  if (count > FEW) place.querySelector("h3").after(make("div", { className: "tools" }, filter, told));

  const first = make("button", { type: "button", textContent: "First" });
  const back = make("button", { type: "button", textContent: "Back" });
  const next = make("button", { type: "button", textContent: "Next" });
  const end = make("button", { type: "button", textContent: "Last" });
  const where = make("span", { className: "count" });
  const last = () => Math.max(0, Math.ceil(state.rows.length / size) - 1);
  const turn = (page) => () => { state.page = Math.min(Math.max(0, page()), last()); show(); };
  [first.onclick, back.onclick, next.onclick, end.onclick] =
    [turn(() => 0), turn(() => state.page - 1), turn(() => state.page + 1), turn(last)];
  if (packed) place.querySelector(".scroll").after(make("div", { className: "pager" }, first, back, where, next, end));

  function show() {
    const rows = packed ? state.rows.slice(state.page * size, (state.page + 1) * size) : state.rows;
    const shown = rows.map((row) => (whole ? whole[row] : make("tr", {}, ...columns.map((it) => shownCell(it, row)))));
    for (const row of shown) columns.forEach((column, at) => { row.cells[at].dataset.label = column.heading; });
    table.tBodies[0].replaceChildren(...shown);
    told.textContent = state.rows.length === count ? `${count.toLocaleString("en")} rows`
      : `${state.rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} rows`;
    where.textContent = `page ${state.page + 1} of ${last() + 1}`;
    first.disabled = back.disabled = state.page === 0;
    next.disabled = end.disabled = state.page === last();
  }

  const fields = packed ? columns.map((column) => {
    const field = make("input", { type: "text" });
    field.setAttribute("aria-label", `Filter ${column.heading}`);
    return field;
  }) : [];
  function update() {
    const words = filter.value.split(/\s+/).filter(Boolean);
    state.rows = select(columns, count, words, fields.map((field) => field.value));
    if (state.column) arrange(state.rows, state.column, state.down);
    state.page = 0;
    show();
  }
  filter.oninput = update;
  for (const field of fields) field.oninput = update;

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = make("button", { type: "button", textContent: head.textContent });
    button.onclick = () => {
      state.down = state.column === columns[at] && !state.down;
      state.column = columns[at];
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      update();
    };
    head.replaceChildren(button);
  });
  if (fields.length) table.tHead.append(make("tr", {}, ...fields.map((field) => make("td", {}, field))));
  show();
}

document.documentElement.classList.add("js");
const alive = new Map(); // table -> promise
function enliven(place) {
  if (!alive.has(place)) alive.set(place, liven(place));
  return alive.get(place);
}
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) enliven(target);
}, { rootMargin: "600px" });
for (const place of document.querySelectorAll(".table")) seen.observe(place);
