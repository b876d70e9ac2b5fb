// The page: requests to the server, drawing, and controls.
import { buildLabels } from "./labels.js";
import { dragMoves, listenToMoves, showMoves } from "./moving.js";
import {
  MAX_SEED, badge, begin, canRemove, canUndo, change, clamp, commit, editOf, facts, fromFragment,
  isComponent, isEdited, keys, look, nameOf, percent, request, seedOf, state, toFragment, toFragmentSoon, undo,
} from "./state.js";

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") ?? "";
const FADED = 60; // opacity of components that are not picked, of 255
const RANDOM_SEEDS = 10000;

let shown = null; // the last answer of the server

const ask = (path, options = {}) => fetch(path, { ...options, headers: { ...options.headers, "X-Token": token } }).catch(() => {
  throw new Error("The viewer does not answer: start the command again, and open its new URL");
});
const post = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

// Requests: one at a time, and the newest state wins

let busy = false;
let waiting = false;
let wanted = "";

async function refresh(words = "") {
  wanted = words;
  showControls();
  waiting = true;
  if (busy) return;
  busy = true;
  document.documentElement.dataset.busy = "";
  while (waiting) {
    waiting = false;
    await load();
  }
  busy = false;
  delete document.documentElement.dataset.busy;
}

async function load() {
  const began = performance.now();
  const slow = setTimeout(() => { $("time").textContent = "working …"; }, 400);
  try {
    const answer = await post("view", request());
    const data = await answer.json().catch(() => ({ error: "open the URL that the command printed" }));
    if (!answer.ok) throw new Error(data.error);
    toFragment();
    shown = data;
    $("image").src = `data:image/png;base64,${data.image}`;
    await $("image").decode();
    complain("");
    draw();
    $("time").textContent = `${Math.round(performance.now() - began)} ms`;
    announce();
  } catch (error) {
    complain(`${error.message}.`);
  } finally {
    clearTimeout(slow);
  }
}

function complain(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

let quiet;
function announce() { // after a drag, not during one
  clearTimeout(quiet);
  quiet = setTimeout(() => {
    const edited = keys().filter((key) => state.edits[key]).map((key) => `${nameOf(key)} ${badge(state.edits[key])}`);
    $("status").textContent = [wanted, `Seed ${state.seed}.`, ...(look.unedited ? ["Unedited."] : edited)].join(" ");
  }, 500);
}

async function save(path, name, words) {
  try {
    const answer = await post(path, request());
    if (!answer.ok) throw new Error((await answer.json()).error);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    $("status").textContent = words;
  } catch (error) {
    complain(`Not saved: ${error.message}.`);
  }
}

// Drawing

const numbers = (text) => new Uint16Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

function draw() {
  if (!facts.components) return showEntries();
  const [rows, columns] = shown.size;
  shown.places = numbers(shown.segments);
  const pixels = new ImageData(columns, rows);
  shown.places.forEach((component, i) => pixels.data.set([...(facts.palette[component] ?? facts.nothing), 255], 4 * i));
  put("overlay", pixels);
  if (isComponent(look.picked)) {
    shown.places.forEach((component, i) => { if (component !== Number(look.picked)) pixels.data[4 * i + 3] = FADED; });
  }
  put("map", pixels);
  showEntries();
}

function put(id, pixels) {
  Object.assign($(id), { width: pixels.width, height: pixels.height });
  $(id).getContext("2d").putImageData(pixels, 0, 0);
}

function componentAt(event) {
  if (!shown?.places) return null;
  const box = event.currentTarget.getBoundingClientRect();
  const [rows, columns] = shown.size;
  const column = clamp(Math.floor(((event.clientX - box.left) / box.width) * columns), 0, columns - 1);
  const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
  const component = shown.places[row * columns + column];
  return component < facts.components ? String(component) : null;
}

function pick(key) {
  look.picked = key;
  showControls();
  toFragmentSoon();
  if (shown) draw();
}

function showEntries() {
  const counts = new Map();
  shown?.places?.forEach((component) => counts.set(component, (counts.get(component) ?? 0) + 1));
  for (const button of $("legend").querySelectorAll("button")) {
    const { key } = button.dataset;
    button.setAttribute("aria-pressed", String(key === look.picked));
    const [share, mark] = [button.querySelector(".share"), button.querySelector(".badge")];
    mark.textContent = badge(state.edits[key]);
    mark.hidden = !mark.textContent;
    if (isComponent(key) && shown?.places) share.textContent = percent((counts.get(Number(key)) ?? 0) / shown.places.length);
  }
  const [inside, outside] = (isComponent(look.picked) && shown?.changes[Number(look.picked)]) || [];
  const values = isComponent(look.picked) ? [["Inside region", inside], ["Outside", outside]] : [];
  $("changes").replaceChildren(...[...values, ["Entire image", shown?.change]].map(([name, value]) => {
    const [pair, term, number] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    number.textContent = value === null || value === undefined ? "–" : value.toFixed(value < 9.95 ? 2 : 1);
    pair.append(term, number);
    return pair;
  }));
}

function showControls() {
  const edit = editOf(look.picked);
  const write = (input, value) => { if (document.activeElement !== input || input.type !== "number") input.value = value; }; // not while it is typed
  const set = (id, value) => write($(id), value);
  set("seed", state.seed);
  set("psi", state.psi);
  set("noise", state.noise);
  set("source", edit.seed);
  set("t", edit.t);
  set("opacity", look.overlay);
  set("layer", look.layer ?? facts.layers.length - 1);
  $("psi-value").textContent = state.psi.toFixed(2);
  $("t-value").textContent = percent(edit.t);
  $("opacity-value").textContent = percent(look.overlay);
  $("overlay").style.opacity = look.overlay;
  for (const id of ["t", "opacity"]) $(id).setAttribute("aria-valuetext", $(`${id}-value`).textContent);
  for (const input of $("labels").querySelectorAll("[data-number]")) {
    write(input, input.tagName === "SELECT" ? state.label : state.label[input.dataset.number]);
  }
  $("picked-heading").textContent = nameOf(look.picked);
  showMoves(look.picked, edit);
  $("swap").textContent = `Swap with seed ${edit.seed}`;
  $("swap").disabled = edit.t === 1 || edit.removed;
  $("t").disabled = edit.removed;
  $("remove").hidden = !isComponent(look.picked) || (facts.components < 2 && !facts.places);
  $("remove").textContent = edit.removed ? "Restore" : "Remove";
  $("remove").disabled = !edit.removed && !canRemove(look.picked);
  $("restore").disabled = !isEdited(edit);
  const edited = Object.keys(state.edits).length > 0;
  $("reset").disabled = $("compare").disabled = !edited;
  if (!edited) look.unedited = false;
  $("compare").setAttribute("aria-pressed", String(look.unedited));
  $("undo").disabled = !canUndo();
  showEntries();
}

// Controls

function takeBack() {
  if (undo()) refresh("Undone.");
}

function onSlider(id, apply) { // draws while it moves; undo returns to where it was
  $(id).addEventListener("input", () => { apply(Number($(id).value)); refresh(); });
  $(id).addEventListener("change", commit);
}

function set(apply, words) {
  commit();
  look.unedited = false;
  apply();
  commit();
  refresh(words);
}

function onSeed(prefix, read, write) {
  const [input, step] = [$(prefix || "seed"), (by) => () => set(() => write((read() + by + MAX_SEED + 1) % (MAX_SEED + 1)))];
  const id = (name) => (prefix ? `${prefix}-${name}` : name);
  input.addEventListener("input", () => {
    const seed = seedOf(input.value, null);
    if (seed !== null) write(seed);
    refresh();
  });
  input.addEventListener("change", commit);
  input.addEventListener("blur", () => showControls());
  $(id("previous")).addEventListener("click", step(-1));
  $(id("next")).addEventListener("click", step(1));
  $(id("random")).addEventListener("click", () => set(() => write(Math.floor(Math.random() * RANDOM_SEEDS))));
}

function buildLegend() {
  $("legend").replaceChildren(...keys().map((key) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    Object.assign(button, { type: "button" }).dataset.key = key;
    const spans = ["swatch", "name", "share", "badge"].map((name) => Object.assign(document.createElement("span"), { className: name }));
    if (isComponent(key)) spans[0].style.background = `rgb(${facts.palette[key].join(" ")})`;
    spans[0].hidden = !isComponent(key);
    spans[1].textContent = isComponent(key) ? String(Number(key) + 1) : nameOf(key);
    if (isComponent(key)) spans[1].prepend(Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: "Component " }));
    button.append(spans[0], spans[1], spans[3], spans[2]);
    button.addEventListener("click", () => pick(key));
    item.append(button);
    return item;
  }));
}

function build() {
  const { name, width, height, components, layers, noise, channels } = facts;
  document.title = `${name} – GANformer viewer`;
  $("name").textContent = name;
  const words = [`${width}×${height} pixels`, components ? `${components} component${components > 1 ? "s" : ""}` : "no components"];
  $("facts").textContent = [...words, ...(channels ? [channels] : [])].join(" · ");
  $("noise-row").hidden = !noise;
  for (const id of ["map-figure", "overlay-row", "layer-row"]) $(id).hidden = !components;
  const drag = facts.places ? " Drag one there to move it." : "";
  $("hint").textContent = components ? `Pick a component here, or where pixels attend to it: on the image or the map.${drag}` : facts.global ? "This generator has no components: its global latent decides everything." : "This generator merges several images, whose latents are edited together.";
  $("layer").append(...layers.map(([rows, columns], i) => new Option(`layer ${i}, ${columns}×${rows}`, i)));
  for (const id of ["image-panel", "map-panel"]) {
    $(id).style.aspectRatio = `${width} / ${height}`;
    if (!components) continue;
    $(id).classList.add("pick");
    $(id).addEventListener("click", (event) => { const key = componentAt(event); if (key !== null) pick(key); });
    if (facts.places) dragMoves($(id), { componentAt, pick, refresh });
    $(id).addEventListener("pointermove", (event) => { const key = componentAt(event); $("under").textContent = key === null ? "" : nameOf(key); });
    $(id).addEventListener("pointerleave", () => { $("under").textContent = ""; });
  }
  buildLegend();
  buildLabels($("labels"), { set, refresh, commit, restore: showControls });
}

function listen() {
  onSeed("", () => state.seed, (seed) => { state.seed = seed; });
  onSeed("source", () => editOf(look.picked).seed, (seed) => change(look.picked, { seed }));
  onSlider("psi", (psi) => { state.psi = psi; });
  onSlider("t", (t) => { look.unedited = false; change(look.picked, { t }); });
  listenToMoves(onSlider);
  $("noise").addEventListener("change", () => set(() => { state.noise = $("noise").value; }));
  $("layer").addEventListener("change", () => { look.layer = Number($("layer").value); refresh(); });
  $("opacity").addEventListener("input", () => { look.overlay = Number($("opacity").value); showControls(); toFragmentSoon(); });
  $("swap").addEventListener("click", () => set(() => change(look.picked, { t: 1 })));
  $("remove").addEventListener("click", () => set(() => change(look.picked, { removed: !editOf(look.picked).removed })));
  $("restore").addEventListener("click", () => set(() => change(look.picked, { t: 0, removed: false, x: 0, y: 0 })));
  $("reset").addEventListener("click", () => set(() => { state.edits = {}; }, "Edits removed."));
  $("undo").addEventListener("click", takeBack);
  $("compare").addEventListener("click", () => { look.unedited = !look.unedited; refresh(); });
  $("save-image").addEventListener("click", () => save("image.png", `seed-${state.seed}.png`, "Image saved."));
  $("save-latents").addEventListener("click", () => save("latents.npz", "latents.npz", "Latents saved."));
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type === "number";
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z" && !typing) {
      event.preventDefault();
      takeBack();
    }
  });
  window.addEventListener("hashchange", () => { fromFragment(); commit(); refresh(); });
}

async function start() {
  try {
    const answer = await ask("generator");
    if (!answer.ok) throw new Error(await answer.text());
    begin(await answer.json());
  } catch (error) {
    complain(`${error.message.trim()}.`);
    return;
  }
  build();
  listen();
  await refresh();
}

start();
