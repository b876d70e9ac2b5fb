// Controls of the label: a list of classes, or a number for each name of a condition.
import { facts, state } from "./state.js";

export function buildLabels(box, on) {
  const { kind, names } = facts.labels;
  box.hidden = kind === "none";
  if (kind === "classes") box.replaceChildren(classes(names, on));
  if (kind === "conditions") box.replaceChildren(condition(names, on));
}

function classes(names, on) {
  const [row, select] = control("select", "Class", 0);
  select.append(...names.map((name, number) => new Option(name, number)));
  select.addEventListener("change", () => on.set(() => { state.label = Number(select.value); }));
  return row;
}

function condition(names, on) {
  const [group, title, list] = ["fieldset", "legend", "div"].map((tag) => document.createElement(tag));
  title.textContent = "Condition";
  list.className = "numbers";
  list.append(...names.map((name, place) => {
    const [row, input] = control("input", name, place);
    Object.assign(input, { type: "number", step: "any" });
    input.addEventListener("input", () => {
      if (input.value === "" || !Number.isFinite(Number(input.value))) return;
      state.label[place] = Number(input.value);
      on.refresh();
    });
    input.addEventListener("change", on.commit);
    input.addEventListener("blur", () => on.restore());
    return row;
  }));
  group.append(title, list);
  return group;
}

function control(tag, text, place) {
  const [row, words, input] = ["label", "span", tag].map((each) => document.createElement(each));
  words.textContent = text;
  input.dataset.number = place;
  row.className = "row";
  row.append(words, input);
  return [row, input];
}
