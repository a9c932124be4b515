"use strict";

const $ = (id) => document.getElementById(id);
let query = null; // {file} or {row, name}
let shown = null; // the query of the hits on the page
let asked = 0;

function say(text, error = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", error);
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("the server does not answer");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error || `the server answered ${answer.status}`);
  return body;
}

async function search() {
  if (!query) return;
  const mine = ++asked;
  const parameters = new URLSearchParams({ k: $("k").value });
  if ($("label").value) parameters.append("label", $("label").value);
  say("Searching …");
  $("hits").classList.add("waiting");
  try {
    const found = query.file
      ? await ask(`api/search?${parameters}`, { method: "POST", body: query.file })
      : await ask(`api/similar/${query.row}?${parameters}`);
    if (mine === asked) show(found);
  } catch (error) {
    if (mine !== asked) return;
    query = shown; // class and number of hits go on applying to what is shown
    say(error.message[0].toUpperCase() + error.message.slice(1) + ".", true);
  } finally {
    if (mine === asked) $("hits").classList.remove("waiting");
  }
}

function show(found) {
  shown = query;
  const picture = $("query-picture");
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.src = query.file ? URL.createObjectURL(query.file) : `api/image/${query.row}`;
  $("query-name").textContent = query.name;
  const vote = $("label").value ? null : found.vote; // one class has all votes
  $("vote").textContent = vote ? `Vote: ${vote.label} (${Math.round(100 * vote.share)} % of the votes)` : "";
  $("hits").replaceChildren(...found.hits.map(hitElement));
  $("result").hidden = false;
  say(found.hits.length ? `${found.hits.length} pictures found.` : "No picture found.");
}

function hitElement(hit) {
  const item = $("hit").content.cloneNode(true);
  const part = (name) => item.querySelector(name);
  const label = hit.label ?? "";
  part("img").src = `api/image/${hit.row}`;
  part("img").alt = "";
  part(".label").textContent = label;
  part(".score").textContent = hit.similarity.toFixed(3);
  part(".name").textContent = hit.copies.length ? `${hit.name} and ${hit.copies.length} more` : hit.name;
  part(".name").title = hit.path;
  part(".strangers").textContent =
    hit.strangers_text === null ? "" : `strangers: ${hit.strangers_text}`;
  part(".mark").hidden = !hit.identical;
  part("button").addEventListener("click", () => {
    history.pushState({ row: hit.row, name: hit.name }, "", `#${hit.row}`);
    start({ row: hit.row, name: hit.name });
    window.scrollTo({ top: 0 });
    $("result-title").scrollIntoView({ block: "nearest" });
  });
  return item;
}

function start(given) {
  query = given;
  search();
}

function take(file) {
  if (!file) return;
  history.pushState(null, "", location.pathname);
  start({ file, name: file.name || "pasted picture" });
}

$("file").addEventListener("change", () => {
  take($("file").files[0]);
  $("file").value = "";
});
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("k").addEventListener("change", search);
$("label").addEventListener("change", search);
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" || event.relatedTarget === null) document.body.classList.remove("dragging");
  });
}
document.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => {
  const item = [...event.clipboardData.items].find((each) => each.type.startsWith("image/"));
  if (item) take(item.getAsFile());
});
window.addEventListener("popstate", (event) => {
  if (event.state && event.state.row !== undefined) start(event.state);
});

ask("api/about")
  .then((about) => {
    const count = about.pictures.toLocaleString("en");
    $("about").textContent = `${count} pictures · ${about.model}`;
    $("label").append(...about.labels.map((label) => new Option(label, label)));
    $("calibrated").hidden = !about.calibrated;
    $("label").closest("label").hidden = !about.labels.length;
    const row = location.hash.slice(1);
    if (/^\d+$/.test(row)) start({ row, name: `picture ${row}` });
  })
  .catch((error) => say(error.message, true));
