// Charts: one small plot per panel, drawn by plotly.js when it comes into view, so that they wrap on a phone.
const CHARTS = JSON.parse(document.getElementById("charts").textContent);
const DARK = matchMedia("(prefers-color-scheme: dark)");
const MARKS = { circle: '<circle cx="15" cy="6" r="3.5"/>', square: '<rect x="11.8" y="2.8" width="6.4" height="6.4"/>',
  "triangle-up": '<path d="M15 2l4 7.4h-8z"/>', diamond: '<path d="M15 1.5l4 4.5-4 4.5-4-4.5z"/>',
  "triangle-down": '<path d="M15 10l4-7.4h-8z"/>', cross: '<path d="M13.5 2h3v3h3v3h-3v3h-3V8h-3V5h3z"/>',
  x: '<path d="M11.5 3.5l2-2 1.5 2 1.5-2 2 2-1.5 2 1.5 2-2 2-1.5-2-1.5 2-2-2 1.5-2z"/>' };
const GAPS = { dash: "6 3", dashdot: "6 2 2 2", dot: "2 2" };
const PAPER = { one: 620, each: 300 }; // widths in pixels, as in the style for print
let printing = false;
const drawn = new Map(); // plot element -> { figure, panel }

const theme = () => (DARK.matches && !printing
  ? { ink: "#e6e9ec", soft: "#a3adb7", line: "#363d44", paper: "#14171a", dark: true }
  : { ink: "#1c2024", soft: "#59636e", line: "#d7dce1", paper: "#ffffff", dark: false });

// A colour as it is on paper; on a dark page, dark ones are mixed with white until they can be seen.
function visible(colour, looks) {
  let parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const light = () => (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) / 255;
  while (looks.dark && light() < 0.45) parts = parts.map((part) => part + (255 - part) * 0.15);
  return `rgb(${parts.map(Math.round).join(",")})`;
}

const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const interval = (trace, at) => (trace.low ? ` [${trace.low[at].toFixed(2)}, ${trace.high[at].toFixed(2)}]` : "");
const lineWords = (chart, trace) => chart.legend[trace.line]?.label ?? (trace.joined ? "fitted line" : "");

function pointWords(chart, panel, trace, at) {
  const x = panel.ticks ? panel.ticktext[panel.ticks.reduce((best, tick, place) =>
    (Math.abs(tick - trace.x[at]) < Math.abs(panel.ticks[best] - trace.x[at]) ? place : best), 0)] : trace.x[at];
  const y = trace.y[at] === null ? "not measured" : trace.y[at].toFixed(2);
  return [lineWords(chart, trace), `${panel.xlabel} ${x}`.trim(), `${y}${interval(trace, at)}`];
}

function lineTraces(chart, panel, hidden, looks) {
  const bands = [];
  const lines = [];
  for (const trace of panel.traces) {
    const entry = chart.legend[trace.line] ?? trace;
    const colour = visible(entry.colour, looks);
    const shown = !hidden.has(trace.line);
    if (trace.low && trace.joined) {
      bands.push({ x: [...trace.x, ...trace.x.toReversed()], y: [...trace.low, ...trace.high.toReversed()],
        fill: "toself", fillcolor: colour.replace("rgb", "rgba").replace(")", ",.16)"), line: { width: 0 },
        mode: "lines", hoverinfo: "skip", visible: shown });
    }
    const spread = trace.low && !trace.joined ? { type: "data", symmetric: false, thickness: 1.5, width: 3,
      array: trace.high.map((high, at) => high - trace.y[at]),
      arrayminus: trace.low.map((low, at) => trace.y[at] - low) } : undefined;
    lines.push({ x: trace.x, y: trace.y, error_y: spread, visible: shown,
      mode: [trace.joined && "lines", (trace.marks || !trace.joined) && "markers"].filter(Boolean).join("+"),
      line: { color: colour, dash: entry.dash || "solid", width: 2 },
      marker: { color: colour, symbol: entry.symbol || "circle", size: 7 },
      text: trace.x.map((_, at) => pointWords(chart, panel, trace, at).filter(Boolean).map(plain).join("<br>")),
      hovertemplate: "%{text}<extra></extra>" });
  }
  return [...bands, ...lines];
}

const axis = (title, looks, more) => ({ title: { text: plain(title), font: { size: 12 }, standoff: 6 },
  gridcolor: looks.line, linecolor: looks.line, zeroline: false, fixedrange: true, tickfont: { size: 11 }, ...more });

function layout(looks, height, more) {
  return { height, margin: { l: 44, r: 8, t: 6, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: looks.ink, family: "system-ui, sans-serif", size: 12 }, showlegend: false, hovermode: "closest",
    dragmode: false, hoverlabel: { bgcolor: looks.paper, bordercolor: looks.line, font: { color: looks.ink, size: 12 },
      align: "left", namelength: -1 }, ...more };
}

function drawing(chart, panel, hidden, looks, height) {
  const ticks = panel.ticks ? { tickmode: "array", tickvals: panel.ticks, range: panel.span,
    ticktext: panel.ticktext } : {};
  return [lineTraces(chart, panel, hidden, looks), layout(looks, height, {
    xaxis: axis(panel.xlabel, looks, ticks), yaxis: axis(panel.ylabel, looks, { range: panel.range }) })];
}

function draw(place) {
  const { figure, panel, height } = drawn.get(place);
  const parts = drawing(figure.chart, panel, figure.hidden, theme(), height);
  if (printing) parts[1].width = figure.places.length === 1 ? PAPER.one : PAPER.each;
  place.classList.add("ready");
  return Plotly.react(place, ...parts, { displayModeBar: false, responsive: true });
}

// Arrow keys go through the points: left and right along a line, up and down to another line.
function walk(place, figure, panel) {
  const { traces } = panel;
  const at = { line: 0, point: -1 };
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  place.addEventListener("keydown", (event) => {
    if (!step[event.key]) return;
    event.preventDefault();
    at.line = (at.line + step[event.key][0] + traces.length) % traces.length;
    const count = traces[at.line].y.length;
    at.point = Math.min(Math.max(0, at.point + step[event.key][1]), count - 1);
    const words = pointWords(figure.chart, panel, traces[at.line], at.point);
    figure.readout.textContent = [panel.title, ...words].filter(Boolean).join(", ");
    const bands = traces.filter((trace) => trace.low && trace.joined).length;
    if (place.classList.contains("ready")) Plotly.Fx.hover(place, [{ curveNumber: bands + at.line, pointNumber: at.point }]);
  });
}

function sample(entry) {
  const colour = visible(entry.colour, theme());
  const line = entry.dash ? `<path d="M0 6h30" stroke="${colour}" stroke-width="2" stroke-dasharray="${GAPS[entry.dash] ?? ""}"/>` : "";
  return `<svg viewBox="0 0 30 12" aria-hidden="true">${line}<g fill="${colour}">${MARKS[entry.symbol] ?? ""}</g></svg>`;
}

function legend(figure) {
  const buttons = figure.chart.legend.map((entry, at) => {
    const button = make("button", { type: "button" });
    button.setAttribute("aria-pressed", String(!figure.hidden.has(at)));
    button.innerHTML = sample(entry);
    button.append(entry.label);
    button.onclick = () => {
      if (!figure.hidden.delete(at)) figure.hidden.add(at);
      button.setAttribute("aria-pressed", String(!figure.hidden.has(at)));
      for (const place of figure.places) if (place.classList.contains("ready")) draw(place);
    };
    return button;
  });
  figure.element.querySelector(".legend").replaceChildren(...buttons);
}

function prepare(element, watch) {
  const chart = CHARTS[element.dataset.chart];
  const figure = { element, chart, hidden: new Set(), places: [], readout: element.querySelector(".readout") };
  const grid = element.querySelector(".panels");
  grid.classList.toggle("alone", chart.panels.length === 1);
  for (const panel of chart.panels) {
    const place = make("div", { className: "plot", tabIndex: 0 });
    const height = chart.panels.length === 1 ? 330 : 215;
    place.style.height = `${height}px`;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", `${panel.title || element.querySelector("h3").textContent}. Arrow keys read the points.`);
    drawn.set(place, { figure, panel, height });
    figure.places.push(place);
    walk(place, figure, panel);
    grid.append(make("div", { className: "panel" }, ...(panel.title ? [make("h4", { textContent: panel.title })] : []), place));
    watch.observe(place);
  }
  legend(figure);
  return figure;
}

async function start() {
  if (!Object.keys(CHARTS).length) return;
  document.head.append(make("script", { textContent: await unpack("library") }));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watch.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  const figures = [...document.querySelectorAll(".chart[data-chart]")].map((element) => prepare(element, watch));
  const again = (all) => {
    figures.forEach(legend);
    for (const place of drawn.keys()) if (all || place.classList.contains("ready")) draw(place);
  };
  DARK.addEventListener("change", () => again(false));
  addEventListener("beforeprint", () => { printing = true; again(true); });
  addEventListener("afterprint", () => { printing = false; again(false); });
}

const charted = start();
