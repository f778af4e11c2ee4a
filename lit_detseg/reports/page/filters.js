// Which images, and which of their objects, the reader asks for.
"use strict";

const SIZES = ["small", "medium", "large"];

const filters = { text: "", classes: new Set(), sizes: new Set(), kind: "" };

function resetFilters() {
  filters.text = "";
  filters.classes.clear();
  filters.sizes.clear();
  filters.kind = "";
}

/** Whether an object as stored is one of those asked for. */
function isWanted(object) {
  if (filters.classes.size && !filters.classes.has(object.label)) return false;
  if (filters.sizes.size && !filters.sizes.has(object.size)) return false;
  if (filters.kind === "unlearned") return !object.learned;
  return !filters.kind || filters.kind === "empty" || object.flags.includes(filters.kind);
}

/** The same for an object as trained on, of which only the class can be compared. */
function isWantedClass(object) {
  return !filters.classes.size || filters.classes.has(object.label);
}

/** The objects of an image that are asked for, or null when the image is not. */
function wantedObjects(image) {
  if (!image.key.toLowerCase().includes(filters.text.toLowerCase())) return null;
  const objectsMatter = filters.classes.size || filters.sizes.size || filters.kind;
  if (filters.kind === "empty") return image.objects.length ? null : [];
  const wanted = image.objects.filter(isWanted);
  return objectsMatter && !wanted.length ? null : wanted;
}

/** Make the menu of classes; `changed` is called after each choice. */
function makeClassMenu(changed) {
  const counts = DATASET.statistics.objects_of_class;
  DATASET.classes.forEach((one, label) => {
    const box = element("input", {
      type: "checkbox",
      "data-label": label,
      onchange: (event) => {
        if (event.target.checked) filters.classes.add(label);
        else filters.classes.delete(label);
        changed();
      },
    });
    const swatch = element("span", { class: "swatch", style: `background: ${one.colour}` });
    const count = element("span", { class: "quiet-text" }, number(counts[label]));
    byId("class-list").append(element("label", { class: "class-choice" }, box, swatch, one.name, count));
  });
  byId("class-search").addEventListener("input", (event) => {
    const text = event.target.value.toLowerCase();
    [...byId("class-list").children].forEach((choice, label) => {
      choice.hidden = !DATASET.classes[label].name.toLowerCase().includes(text);
    });
  });
}

/** Let all controls say what the filters are. */
function showFilters() {
  const names = [...filters.classes].map((label) => DATASET.classes[label].name);
  byId("class-summary").textContent =
    names.length === 0 ? "All classes" : names.length === 1 ? names[0] : `${names.length} classes`;
  byId("class-menu").classList.toggle("active", names.length > 0);
  for (const box of byId("class-list").querySelectorAll("input")) {
    box.checked = filters.classes.has(Number(box.dataset.label));
  }
  for (const row of document.querySelectorAll("#chart-classes .class-row")) {
    row.setAttribute("aria-pressed", filters.classes.has(Number(row.dataset.label)));
  }
  for (const size of SIZES) byId(`size-${size}`).checked = filters.sizes.has(size);
  byId("kind").value = filters.kind;
  if (byId("search").value !== filters.text) byId("search").value = filters.text;
}
