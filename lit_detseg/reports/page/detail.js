// One image, large, with a table of its objects.
"use strict";

const detail = { places: [], at: 0, view: "stored", draw: 0 };

/** Show the image `DATASET.images[places[at]]`; the arrow keys go through `places`. */
function openDetail(places, at, view, draw) {
  Object.assign(detail, { places, at, view, draw });
  showDetail();
  if (!byId("detail").open) byId("detail").showModal();
}

function showDetail() {
  const image = DATASET.images[detail.places[detail.at]];
  if (!viewOf(image, detail.view, detail.draw)) Object.assign(detail, { view: "stored", draw: 0 });
  const shown = viewOf(image, detail.view, detail.draw);
  const focused = document.activeElement?.dataset.control;
  const large = picture(shown, `Image ${image.key}`, { tags: Infinity });
  large.classList.add("large");
  large.style.setProperty("--aspect", shown.width / shown.height);
  byId("detail").replaceChildren(
    detailBar(image),
    element("div", { class: "stage" }, large),
    element("div", { class: "side" }, strip(image), detailFacts(image, shown), objectTable(shown, large)),
  );
  // What had the focus is gone: the same control gets it, so that the keyboard goes on there.
  const same = focused && byId("detail").querySelector(`[data-control="${focused}"]`);
  if (byId("detail").open) (same || byId("detail")).focus();
}

function detailBar(image) {
  const button = (name, text, act) =>
    element("button", { type: "button", "aria-label": name, title: name, "data-control": text, onclick: act }, text);
  return element(
    "div",
    { class: "bar-top" },
    element("h2", { id: "detail-key" }, image.key),
    element("span", { class: "quiet-text" }, `${detail.at + 1} of ${detail.places.length}`),
    button("Previous image (left arrow)", "←", () => step(-1)),
    button("Next image (right arrow)", "→", () => step(1)),
    button("Close (Esc)", "×", () => byId("detail").close()),
  );
}

/** Small pictures of all views, to choose from. */
function strip(image) {
  const choices = [["stored", 0, image, "stored"]];
  image.views.forEach((view, draw) => choices.push(["training", draw, view, `epoch ${view.epoch}`]));
  return element("div", { class: "strip", role: "group", "aria-label": "Views" },
    ...choices.map(([view, draw, shown, name]) =>
      element(
        "button",
        {
          type: "button",
          "data-control": `${view}${draw}`,
          "aria-pressed": detail.view === view && (view === "stored" || detail.draw === draw) ? "true" : "false",
          onclick: () => {
            Object.assign(detail, { view, draw });
            showDetail();
          },
        },
        picture(shown, "", { tags: 0 }),
        element("span", {}, name),
      )));
}

function detailFacts(image, shown) {
  const rows = [["size", `${number(shown.width)} × ${number(shown.height)} pixels`]];
  if (shown === image) {
    rows.push(["file", image.file_name || null], ["source id", idOf(image.source_id)]);
    if (!image.views.length && !DATASET.training.refusal) rows.push(["training", neverSeen()]);
  } else {
    rows.push(["trained on", `epoch ${shown.epoch}, position ${number(shown.position)}`]);
    if (shown.companions.length) rows.push(["to mix with", shown.companions.join(", ")]);
  }
  return table(rows);
}

function neverSeen() {
  return "not shown in the first epochs: their tail is dropped";
}

function objectTable(shown, large) {
  if (!shown.objects.length) return element("p", { class: "quiet-text" }, "No objects.");
  const stored = shown.objects[0].flags !== undefined;
  const names = ["class", "box (x1 y1 x2 y2)", ...(stored ? ["area", "notes", "id"] : ["box area"])];
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      { class: "objects" },
      element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...shown.objects.map((object, place) => objectRow(object, place, stored, large))),
    ),
  );
}

function objectRow(object, place, stored, large) {
  const swatch = element("span", { class: "swatch", style: `background: ${classOf(object).colour}` });
  const cells = [
    element("td", {}, swatch, classOf(object).name),
    element("td", { class: "figures" }, object.box.map((value) => value.toFixed(1)).join(" ")),
  ];
  if (stored) {
    cells.push(
      element("td", { class: "figures" }, `${number(object.area)} (${object.size})`),
      element("td", {}, notesOf(object).join(", ")),
      element("td", {}, idOf(object.source_id)),
    );
  } else {
    cells.push(element("td", { class: "figures" }, number(areaOf(object))));
  }
  const mark = (on) => () => {
    large.classList.toggle("one-marked", on);
    for (const node of large.querySelectorAll(`[data-place="${place}"]`)) node.classList.toggle("marked", on);
  };
  return element(
    "tr",
    { tabindex: 0, onmouseenter: mark(true), onmouseleave: mark(false), onfocus: mark(true), onblur: mark(false) },
    ...cells,
  );
}

function notesOf(object) {
  const left = object.learned ? [] : ["not trained on"];
  return [...object.flags, ...(object.mask ? [] : ["no mask"]), ...left];
}

function idOf(id) {
  return id === null || id === undefined ? "" : String(id);
}

function step(by) {
  const count = detail.places.length;
  detail.at = (detail.at + by + count) % count;
  showDetail();
}

function listenInDetail() {
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!byId("detail").open || by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    step(by);
  });
  byId("detail").addEventListener("click", (event) => {
    if (event.target === byId("detail")) byId("detail").close(); // beside it
  });
}
