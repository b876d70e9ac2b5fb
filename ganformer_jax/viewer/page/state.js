// The state of the page: what it posts is all that decides an image.
export const MAX_SEED = 2 ** 32 - 1;
export const NOISE = ["const", "random", "none"];
export const MAX_PSI = 1.2;
export const MAX_SHIFT = 2; // the longer side of the image

export let facts; // of the generator
export let state; // of the image: what undo goes back to
export let look; // of the page: layer, overlay, picked, unedited
let committed = "";
let soon; // timer of the fragment
const earlier = [];

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
export const percent = (t) => `${Math.round(100 * t)}%`;
export const seedOf = (text, otherwise) => (/^\d{1,10}$/.test(text) && Number(text) <= MAX_SEED ? Number(text) : otherwise);
export const isComponent = (key) => key !== "global" && key !== "all";
export const keys = () => [...Array(facts.components).keys()].map(String).concat(facts.global ? ["global"] : [], facts.latents > 1 ? ["all"] : []);
export const nameOf = (key) => (key === "global" ? "Global latent" : key === "all" ? "All latents" : `Component ${Number(key) + 1}`);

export const editOf = (key) => state.edits[key] ?? { seed: state.source, t: 0, removed: false, x: 0, y: 0 };
export const isMoved = (edit) => edit.x !== 0 || edit.y !== 0;
export const isEdited = (edit) => edit.t > 0 || edit.removed || isMoved(edit);

export function change(key, values) {
  const edit = { ...editOf(key), ...values };
  if (isEdited(edit)) state.edits[key] = edit;
  else delete state.edits[key];
  state.source = edit.seed;
}

export function request() {
  const edits = [];
  const order = [...keys()].reverse(); // all latents first, then those that replace some of them
  for (const key of look.unedited ? [] : order.filter((each) => state.edits[each])) {
    const { seed, t, removed, x, y } = state.edits[key];
    const component = isComponent(key) ? Number(key) : key;
    if (t === 1) edits.push({ component, kind: "swap", seed });
    else if (t > 0) edits.push({ component, kind: "interpolate", seed, t });
    if (removed) edits.push({ component, kind: "remove" });
    if (isMoved(state.edits[key])) edits.push({ component, kind: "move", x, y });
  }
  const { seed, psi, label, noise } = state;
  return { seed, psi, label, noise, edits, layer: look.layer };
}

export function toFragment() { // rarely: browsers limit how often the URL may change
  clearTimeout(soon);
  const words = new URLSearchParams({ seed: state.seed, psi: state.psi, noise: state.noise, source: state.source });
  if (state.label !== null) words.set("label", [state.label].flat().join(","));
  for (const [key, edit] of Object.entries(state.edits)) {
    const rest = isMoved(edit) ? [edit.removed ? "removed" : "", edit.x, edit.y] : edit.removed ? ["removed"] : [];
    words.append("edit", [key, edit.seed, edit.t, ...rest].join("~"));
  }
  words.set("overlay", look.overlay);
  words.set("picked", look.picked);
  if (look.layer !== null) words.set("layer", look.layer);
  try {
    history.replaceState(null, "", `#${words}`);
  } catch { // over the limit: the next one will be written
  }
}

export function toFragmentSoon() { // what needs no answer
  clearTimeout(soon);
  soon = setTimeout(toFragment, 300);
}

export function fromFragment() {
  const words = new URLSearchParams(location.hash.slice(1));
  const number = (name, otherwise, least, most) => {
    const text = words.get(name);
    return text === null || text === "" || Number.isNaN(Number(text)) ? otherwise : clamp(Number(text), least, most);
  };
  const { start } = facts;
  const seed = seedOf(words.get("seed") ?? "", start.seed);
  const noise = NOISE.includes(words.get("noise")) ? words.get("noise") : start.noise;
  state = { seed, noise, psi: number("psi", start.psi, 0, MAX_PSI), label: labelFrom(words.get("label")), edits: {} };
  state.source = seedOf(words.get("source") ?? "", (seed + 1) % (MAX_SEED + 1));
  for (const text of words.getAll("edit")) {
    const [key, source, t, removed, ...shift] = text.split("~");
    const [x, y] = [0, 1].map((i) => (facts.places && isComponent(key) ? clamp(Number(shift[i]) || 0, -MAX_SHIFT, MAX_SHIFT) : 0));
    const edit = { seed: seedOf(source ?? "", 0), t: clamp(Number(t) || 0, 0, 1), removed: removed === "removed" && canRemove(key), x, y };
    if (keys().includes(key) && isEdited(edit)) state.edits[key] = edit;
  }
  const picked = keys().includes(words.get("picked")) ? words.get("picked") : keys()[0];
  const layer = words.has("layer") ? Math.round(number("layer", 0, 0, facts.layers.length - 1)) : null;
  look = { picked, layer: facts.components ? layer : null, overlay: number("overlay", 0, 0, 1), unedited: false };
}

function labelFrom(text) {
  const { labels, start } = facts;
  if (labels.kind === "classes") return /^\d+$/.test(text ?? "") && Number(text) < labels.names.length ? Number(text) : start.label;
  if (labels.kind === "conditions") {
    const numbers = (text ?? "").split(",").map((each) => (each === "" ? NaN : Number(each)));
    return numbers.length === labels.names.length && numbers.every(Number.isFinite) ? numbers : [...start.label];
  }
  return null;
}

export function canRemove(key) {
  const others = keys().filter((each) => isComponent(each) && each !== key && !state.edits[each]?.removed);
  return isComponent(key) && (facts.places || others.length > 0);
}

export function badge(edit) {
  if (!edit || !isEdited(edit)) return "";
  if (edit.removed) return "removed";
  if (edit.t === 0) return "moved";
  return edit.t === 1 ? `seed ${edit.seed}` : percent(edit.t);
}

// Undo

export function commit() { // remembers the last state for undo
  const now = JSON.stringify(state);
  if (now === committed) return;
  earlier.push(committed);
  committed = now;
}

export const canUndo = () => earlier.length > 0 || JSON.stringify(state) !== committed;

export function undo() { // returns whether there was something to undo
  commit(); // a drag that has not ended
  if (!earlier.length) return false;
  committed = earlier.pop();
  state = JSON.parse(committed);
  return true;
}

export function begin(found) {
  facts = found;
  fromFragment();
  committed = JSON.stringify(state);
}
