// Two rows side by side: a reader chooses them, and each condition shows both accuracies and their difference.
const COMPARISONS = JSON.parse(document.getElementById("comparisons").textContent);

const signed = (number) => `${number < 0 ? "\u2212" : "+"}${Math.abs(number).toFixed(2)}`;

// First minus second; the page keeps every two rows once.
function differenceOf(condition, one, other) {
  const found = condition.differences[`${Math.min(one, other)}-${Math.max(one, other)}`];
  return found && one > other ? [-found[0], -found[2], -found[1]] : found;
}

function wins(data, one, other, differences) {
  const count = (fits) => differences.filter(fits).length;
  const [better, worse] = [count(([, low]) => low > 0), count(([, , high]) => high < 0)];
  return `${data.rows[one]} is more accurate than ${data.rows[other]} under ${better} of ${differences.length} conditions `
    + `and less accurate under ${worse}${better + worse < differences.length ? "; under the others no difference is shown" : ""}.`;
}

function accuracyCell([value, low, high]) {
  const range = make("span", { className: "range", textContent: `[${low.toFixed(2)}, ${high.toFixed(2)}]` });
  return make("td", { className: "right" }, value.toFixed(2), range);
}

function compareRow(condition, one, other, ends) {
  const [points, low, high] = differenceOf(condition, one, other);
  const sure = low > 0 ? "hit" : high < 0 ? "miss" : "";
  const range = make("span", { className: "range", textContent: `[${signed(low)}, ${signed(high)}]` });
  const track = make("span", { className: "track" });
  const [first, second] = [condition.accuracies[one], condition.accuracies[other]];
  const share = ([value]) => (100 * (value - ends[0])) / (ends[1] - ends[0]);
  const mark = (className, left, width = "") => {
    const element = make("b", { className });
    Object.assign(element.style, { left: `${left}%`, width });
    return element;
  };
  const [left, right] = [first, second].map(share).sort((a, b) => a - b);
  track.append(mark("ends", left, `${right - left}%`), mark("dot other", share(second)), mark("dot", share(first)));
  const name = make("th", { scope: "row", textContent: condition.words });
  return make("tr", {}, name, accuracyCell(first), accuracyCell(second),
    make("td", { className: `right ${sure}` }, signed(points), range), make("td", { className: "wide" }, track));
}

function sideBySide(place) {
  const data = COMPARISONS[Number(place.dataset.comparison)];
  const choices = data.chosen.map((chosen, at) => {
    const select = make("select", {}, ...data.rows.map((row, value) => make("option", { value, textContent: row })));
    select.value = chosen;
    select.setAttribute("aria-label", at ? "second row" : "first row");
    return select;
  });
  const said = make("p", { className: "said" });
  said.setAttribute("aria-live", "polite");
  const heads = ["", "\u25cf first", "\u25cb second", "first \u2212 second"].map((textContent, at) =>
    make("th", { scope: "col", className: at ? "right" : "", textContent }));
  const body = make("tbody");
  const axis = make("th", { className: "wide" });
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads, axis)), body);
  function show() {
    const [one, other] = choices.map((choice) => Number(choice.value));
    const shown = one === other ? [] : data.conditions.filter((condition) => differenceOf(condition, one, other));
    said.textContent = shown.length ? wins(data, one, other, shown.map((condition) => differenceOf(condition, one, other)))
      : "Choose two rows that were measured on the same images.";
    const values = shown.flatMap(({ accuracies }) => [accuracies[one][0], accuracies[other][0]]);
    const ends = [10 * Math.floor(Math.min(...values) / 10), 10 * Math.floor(Math.max(...values) / 10) + 10];
    axis.replaceChildren(...ends.map((end) => make("span", { textContent: `${end} %` })));
    body.replaceChildren(...shown.map((condition) => compareRow(condition, one, other, ends)));
    table.hidden = !shown.length;
  }
  for (const choice of choices) choice.onchange = show;
  place.append(make("div", { className: "tools" }, make("label", {}, "first ", choices[0]), make("label", {}, "second ", choices[1])),
    said, table);
  show();
}

document.querySelectorAll("[data-comparison]").forEach(sideBySide);
