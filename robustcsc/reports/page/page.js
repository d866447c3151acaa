// Sections are folded: a link, a search or the address opens what it leads to, and paper gets all of them.
const folds = [...document.querySelectorAll("details")];

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target.querySelector(":scope > details") ?? target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
}

const phone = matchMedia("(max-width: 40rem)");
function stack() {
  for (const place of document.querySelectorAll(".cards")) {
    place.classList.toggle("stacked", phone.matches || place.classList.contains("wide"));
  }
}
phone.addEventListener("change", stack);
stack();

const everything = document.getElementById("table-records");
const wider = make("button", { type: "button", textContent: "All columns" });
wider.onclick = () => {
  wider.textContent = everything.classList.toggle("whole") ? "Fewer columns" : "All columns";
};
everything.querySelector("h3").after(make("div", { className: "tools" }, wider));

const all = make("button", { type: "button", textContent: "Open all sections" });
all.onclick = () => {
  const open = folds.some((fold) => !fold.open);
  for (const fold of folds) fold.open = open;
};
document.querySelector(".all").append(all);
addEventListener("toggle", () => {
  all.textContent = folds.some((fold) => !fold.open) ? "Open all sections" : "Close all sections";
}, true);

let closed = [];
addEventListener("beforeprint", () => {
  closed = folds.filter((fold) => !fold.open);
  for (const fold of closed) fold.open = true;
});
addEventListener("afterprint", () => { for (const fold of closed) fold.open = false; });
addEventListener("hashchange", reveal);
reveal();
