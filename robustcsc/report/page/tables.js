// Tables: sorted, filtered, in pages, saved as CSV. A column is kept as its different cells and, for each row, which
// of them it has; so 200,000 rows are sorted and filtered at once. Long tables come packed, others are read off the
// page.
const PAGE = 25;
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

// What a cell counts as when numbers are sorted or compared: its first number; 8/255 is a fraction.
function numberOf(text) {
  const found = /^([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:\/(\d+))?/i.exec(text);
  return found ? Number(found[1]) / (found[2] ? Number(found[2]) : 1) : NaN;
}

function columnOf(heading, numeric, values, codes) {
  const compare = numeric
    ? (one, other) => numberOf(one) - numberOf(other) || COLLATOR.compare(one, other)
    : COLLATOR.compare;
  const places = values.map((_, at) => at);
  const empty = (at) => (numeric ? Number.isNaN(numberOf(values[at])) : values[at] === "");
  let ranks = null;
  return {
    heading, numeric, values, codes, empty,
    get ranks() {
      if (!ranks) {
        ranks = new Uint32Array(values.length);
        const full = places.filter((at) => !empty(at)).sort((one, other) => compare(values[one], values[other]));
        full.forEach((at, rank) => { ranks[at] = rank; });
      }
      return ranks;
    },
  };
}

function readColumns(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  return [...table.tHead.rows[0].cells].map((cell, at) => {
    const places = new Map();
    const codes = rows.map((row) => places.get(row[at]) ?? (places.set(row[at], places.size), places.size - 1));
    return columnOf(cell.textContent, cell.classList.contains("right"), [...places.keys()], codes);
  });
}

async function unpackColumns(id) {
  return JSON.parse(await unpack(id)).map((column) => columnOf(
    column.heading, column.numeric, column.values, new WIDTHS[column.bytes](bytesOf(column.codes).buffer),
  ));
}

// Which of a column's different cells a text selects: all that contain it, or the numbers within a bound.
function matches(column, typed) {
  const bound = /^(<=|>=|<|>|=)\s*(\S+)$/.exec(typed.trim());
  if (bound && !Number.isNaN(numberOf(bound[2]))) {
    const limit = numberOf(bound[2]);
    const fits = { "<": (x) => x < limit, ">": (x) => x > limit, "<=": (x) => x <= limit, ">=": (x) => x >= limit,
      "=": (x) => x === limit }[bound[1]];
    return column.values.map((value) => fits(numberOf(value)));
  }
  const wanted = typed.trim().toLowerCase();
  return column.values.map((value) => value.toLowerCase().includes(wanted));
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

function cellOf(column, row) {
  const text = column.values[column.codes[row]];
  const parts = column.numeric ? /^(\S+)( \[[^\]]*\])( n=\d+)?$/.exec(text) : null;
  if (parts) {
    const ranges = parts.slice(2).filter(Boolean).map((part) => make("span", { className: "range", textContent: part }));
    return make("td", { className: "right" }, parts[1], ...ranges);
  }
  const shown = column.numeric && /\.\d{6,}/.test(text) ? String(Number(Number(text).toPrecision(5))) : text;
  return make("td", {
    className: column.numeric ? "right" : text.length < 26 ? "short" : "long", textContent: shown,
    title: shown === text ? "" : text,
  });
}

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

function csvOf(columns, rows) {
  const lines = [columns.map((column) => quoted(column.heading)).join(",")];
  for (const row of rows) lines.push(columns.map((column) => quoted(column.values[column.codes[row]])).join(","));
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
  place.querySelector("h3").after(make("div", { className: "tools" }, ...(count > 1 ? [filter, told] : []), csv));

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
    const shown = rows.map((row) => (whole ? whole[row] : make("tr", {}, ...columns.map((it) => cellOf(it, row)))));
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
const lively = Promise.all([...document.querySelectorAll(".table")].map(liven));
