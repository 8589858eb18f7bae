"use strict";
const $ = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll(".tag")];
const names = {};
for (const b of buttons) names[b.dataset.tag] = b.querySelector(".name").textContent;
const list = (text) => text.split(" ").filter(Boolean);
const cards = [...document.querySelectorAll("article")].map((node) => ({
  node, number: +node.dataset.number, p: node.dataset.p.split(",").map(Number),
  tags: new Set(list(node.dataset.tags)), doubt: list(node.dataset.doubt),
  text: node.querySelector("h3").title.toLowerCase(),
}));
const pressed = (b) => b.getAttribute("aria-pressed") === "true";
const press = (b, on) => b.setAttribute("aria-pressed", String(on));
const closeness = (c) => Math.min(2, ...c.doubt.map((i) => Math.abs(c.p[i] - 0.5)));

function compare(order) {
  if (order === "number") return (a, b) => a.number - b.number;
  if (order === "doubt") return (a, b) => b.doubt.length - a.doubt.length || closeness(a) - closeness(b) || a.number - b.number;
  return (a, b) => b.p[order] - a.p[order] || a.number - b.number;
}

function show() {
  const wanted = buttons.filter(pressed).map((b) => b.dataset.tag);
  const part = $("find").value.trim().toLowerCase();
  const order = $("order").value;
  press($("doubt"), order === "doubt");
  cards.sort(compare(order));
  let n = 0;
  for (const c of cards) {
    const hit = wanted.every((t) => c.tags.has(t)) && c.text.includes(part);
    c.node.hidden = !hit;
    n += hit;
  }
  $("cards").append(...cards.map((c) => c.node));
  $("shown").textContent = `${n} of ${cards.length} shown`;
  $("nothing").hidden = n > 0 || cards.length === 0;
}

function clear() {
  buttons.forEach((b) => press(b, false));
  $("find").value = "";
  $("order").value = "number";
  show();
}

function doubtful() {
  $("order").value = $("order").value === "doubt" ? "number" : "doubt";
  show();
}

function fill(details) {
  const c = cards.find((x) => x.node === details.parentNode), rows = details.querySelector("ol");
  if (rows.childElementCount) return;
  for (const i of c.p.map((_, i) => i).sort((a, b) => c.p[b] - c.p[a])) {
    const row = document.createElement("li");
    row.className = c.tags.has(String(i)) ? "yes" : "";
    const name = document.createElement("span"), bar = document.createElement("span"), v = document.createElement("span");
    name.textContent = (c.doubt.includes(String(i)) ? "? " : "") + names[i];
    bar.className = "bar";
    bar.append(document.createElement("i"));
    bar.firstChild.style.width = `${100 * c.p[i]}%`;
    v.className = "v";
    v.textContent = c.p[i].toFixed(2);
    row.append(name, bar, v);
    rows.append(row);
  }
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.key);
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function move(step) {
  const seen = cards.filter((c) => !c.node.hidden).map((c) => c.node);
  const at = seen.indexOf(document.activeElement.closest("article"));
  const to = seen[at < 0 ? 0 : Math.max(0, Math.min(seen.length - 1, at + step))];
  if (to) { to.focus(); to.scrollIntoView({ block: "nearest" }); }
}

function across() {
  const seen = cards.filter((c) => !c.node.hidden).map((c) => c.node);
  const top = seen.length ? seen[0].offsetTop : 0;
  return Math.max(1, seen.filter((n) => n.offsetTop === top).length);
}

function key(event) {
  const writing = /^(INPUT|SELECT)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.key === "Escape") { clear(); event.target.blur(); return; }
  if (writing) return;
  const card = document.activeElement.closest("article");
  const acts = {
    j: () => move(1), k: () => move(-1), ArrowRight: () => move(1), ArrowLeft: () => move(-1),
    ArrowDown: () => move(across()), ArrowUp: () => move(-across()), Home: () => move(-1e9), End: () => move(1e9),
    d: doubtful, r: clear, "/": () => $("find").focus(), "?": () => $("help").showModal(),
    y: () => card && copy(card.querySelector(".copy")),
    Enter: () => { if (event.target === card) { const d = card.querySelector("details"); d.open = !d.open; } },
  };
  const button = /^[1-9]$/.test(event.key) && buttons[+event.key - 1];
  if (button) { press(button, !pressed(button)); show(); }
  else if (acts[event.key]) { if (event.key === "Enter" && event.target !== card) return; acts[event.key](); }
  else return;
  event.preventDefault();
}

buttons.forEach((b) => b.addEventListener("click", () => { press(b, !pressed(b)); show(); }));
$("find").addEventListener("input", show);
$("order").addEventListener("change", show);
$("doubt").addEventListener("click", doubtful);
$("clear").addEventListener("click", clear);
$("clear2").addEventListener("click", clear);
$("ask").addEventListener("click", () => $("help").showModal());
document.addEventListener("keydown", key);
document.addEventListener("toggle", (e) => { if (e.target.open && e.target.matches("article details")) fill(e.target); }, true);
document.addEventListener("click", (e) => { if (e.target.matches(".copy")) copy(e.target); });
show();
