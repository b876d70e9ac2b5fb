// Places of components: dragged on the image, or moved by sliders.
import { MAX_SHIFT, change, clamp, commit, editOf, facts, isComponent, look, percent } from "./state.js";

const $ = (id) => document.getElementById(id);
const SLACK = 4; // pixels that a click may wander

export function showMoves(key, edit) {
  $("moving").hidden = !facts.places || !isComponent(key);
  for (const axis of ["x", "y"]) {
    const [input, output] = [$(`move-${axis}`), $(`move-${axis}-value`)];
    input.value = edit[axis];
    input.disabled = edit.removed;
    output.textContent = percent(edit[axis] / 2); // of the longer side
    input.setAttribute("aria-valuetext", output.textContent);
  }
}

export function listenToMoves(onSlider) {
  for (const axis of ["x", "y"]) {
    onSlider(`move-${axis}`, (value) => { look.unedited = false; change(look.picked, { [axis]: value }); });
  }
}

export function dragMoves(panel, { componentAt, pick, refresh }) {
  let drag = null;
  panel.style.touchAction = "none"; // a finger moves the component and not the page
  panel.addEventListener("dragstart", (event) => event.preventDefault()); // of the image as a file
  panel.addEventListener("pointerdown", (event) => {
    drag = null;
    const key = componentAt(event);
    if (key === null || event.button !== 0) return;
    drag = { key, from: [event.clientX, event.clientY], edit: editOf(key), moved: false };
    panel.setPointerCapture(event.pointerId);
  });
  panel.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const pixels = [event.clientX - drag.from[0], event.clientY - drag.from[1]];
    if (!drag.moved && Math.hypot(...pixels) < SLACK) return;
    if (!drag.moved) pick(drag.key);
    drag.moved = true;
    const box = panel.getBoundingClientRect();
    const unit = 2 / Math.max(box.width, box.height);
    const [x, y] = [drag.edit.x, drag.edit.y].map((start, i) => clamp(start + unit * pixels[i], -MAX_SHIFT, MAX_SHIFT));
    look.unedited = false;
    change(drag.key, { x, y });
    refresh();
  });
  panel.addEventListener("pointerup", () => { if (drag?.moved) commit(); });
  panel.addEventListener("pointercancel", () => { // no click follows
    if (drag?.moved) commit();
    drag = null;
  });
  panel.addEventListener("click", (event) => { // the end of a drag picks nothing else
    if (drag?.moved) event.stopImmediatePropagation();
    drag = null;
  }, true);
}
