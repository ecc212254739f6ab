// Opens what stands behind a number. All text goes through textContent: nothing from outside becomes markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("behind");

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  element.append(...children);
  return element;
}

function list(facts) {
  const all = make("dl");
  for (const [name, text] of facts) all.append(make("dt", name), make("dd", text));
  return all;
}

function factsOf(node) {
  return (node.facts || []).map(([name, place]) => [name, data.texts[place]]);
}

function command(text) {
  const box = make("div", null, make("pre", null, make("code", text)));
  box.className = "command";
  const copy = make("button", "Copy");
  copy.type = "button";
  copy.className = "copy";
  box.append(copy);
  return box;
}

// All that a node is from, nearest first, each once.
function behind(place) {
  const found = [];
  const seen = new Set([place]);
  let edge = [place];
  while (edge.length) {
    const next = [];
    for (const at of edge) {
      for (const from of data.nodes[at].from) {
        if (!seen.has(from)) { seen.add(from); found.push(from); next.push(from); }
      }
    }
    edge = next;
  }
  return found;
}

// Filled when it is opened first: a number may be from many runs.
function run(place, deep) {
  const node = data.nodes[place];
  const facts = factsOf(node);
  const told = facts.filter(([name]) => name === "device" || name === "started").map(([, text]) => text);
  const summary = make("summary", node.name);
  const when = make("span", "  " + (told.length ? told.join(", ") : "no result yet"));
  when.className = "when";
  summary.append(when);
  const box = make("details", null, summary);
  box.addEventListener("toggle", () => {
    if (!box.open || box.childElementCount > 1) return;
    if (node.params !== undefined) box.append(make("pre", data.texts[node.params] || "no params"));
    box.append(list(facts));
    if (!deep) return;
    const from = behind(place);
    if (from.length) box.append(make("h4", "It was made from"));
    for (const one of from) box.append(run(one, false));
  });
  return box;
}

function show(button) {
  const cell = data.cells[Number(button.dataset.cell)];
  const article = button.closest("article");
  const title = article ? article.querySelector("h3").textContent : "";
  const body = make("div", null, list(cell.facts), make("h4", "Make what it lacks"), command(data.texts[cell.command]));
  body.append(make("h4", "Make it again, in a store of its own"), command(data.texts[cell.anew]));
  body.append(make("h4", cell.runs.length === 1 ? "From 1 run" : "From " + cell.runs.length + " runs"));
  for (const place of cell.runs) body.append(run(place, true));
  document.getElementById("behind-title").textContent = title;
  const old = document.getElementById("behind-body");
  body.id = "behind-body";
  old.replaceWith(body);
  dialog.showModal();
  const only = body.querySelectorAll("details");
  if (only.length === 1) only[0].open = true;
}

document.addEventListener("click", (event) => {
  const number = event.target.closest("[data-cell]");
  if (number) { show(number); return; }
  const copy = event.target.closest(".copy");
  if (copy) {
    const code = copy.parentElement.querySelector("code");
    const told = () => { copy.textContent = "Copied"; };
    const select = () => { getSelection().selectAllChildren(code); copy.textContent = "Selected"; };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(told, select); else select();
    return;
  }
  if (event.target === dialog) dialog.close();
});

// `report.html#cell-12` opens the twelfth number: what is behind a number can be linked to.
const linked = /^#cell-(\d+)$/.exec(location.hash);
const target = linked && document.querySelector('[data-cell="' + linked[1] + '"]');
if (target) show(target);
