// The grid of images, and what the controls above it do.
"use strict";

const MARGIN = "800px"; // images this near to the window are drawn
const ROW_HEIGHT = 220; // pixels, about
const TAGS = 12; // names on an image, of its largest objects; all of them stand in the detail view
const ASPECTS = [0.5, 2.6]; // width / height of a card: images beyond get bars beside them

const state = { view: "stored", draw: 0 };
const cards = []; // parallel to DATASET.images
let shownPlaces = []; // of the images that match

const nearWindow = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const place = Number(entry.target.dataset.place);
      cards[place].near = entry.isIntersecting;
      if (entry.isIntersecting) drawCard(place);
    }
  },
  { rootMargin: MARGIN },
);

function makeCards() {
  DATASET.images.forEach((image, place) => {
    const frame = element("button", {
      type: "button",
      class: "frame",
      "aria-label": `${image.key}: enlarge`,
      onclick: () => openDetail(shownPlaces, shownPlaces.indexOf(place), state.view, state.draw),
    });
    const caption = element("figcaption", {});
    const node = element("figure", { class: "card", "data-place": place, "data-key": image.key }, frame, caption);
    cards.push({ node, frame, caption, near: false });
    byId("grid").append(node);
    nearWindow.observe(node);
  });
  byId("grid").append(element("div", { class: "rest", "aria-hidden": "true" }));
}

/** Draw an image and its objects, in the view that is asked for. */
function drawCard(place) {
  const { frame, caption } = cards[place];
  const image = DATASET.images[place];
  const shown = viewOf(image, state.view, state.draw);
  if (!shown) {
    frame.replaceChildren(element("p", { class: "unseen" }, "not trained on in the first epochs"));
    caption.replaceChildren(element("span", { class: "key" }, image.key));
    return;
  }
  const isMeant = state.view === "stored" ? isWanted : isWantedClass;
  frame.replaceChildren(picture(shown, `Image ${image.key}`, { isMeant, tags: TAGS }));
  const where = state.view === "stored" ? "" : `epoch ${shown.epoch}, position ${number(shown.position)}`;
  caption.replaceChildren(
    element("span", { class: "key" }, image.key),
    element("span", { class: "quiet-text" }, [plural(shown.objects.length, "object"), where].filter(Boolean).join(" · ")),
  );
}

/** Give a card the shape of what it shows. */
function shapeCard(place) {
  const shown = viewOf(DATASET.images[place], state.view, state.draw) || DATASET.images[place];
  const aspect = shown.width / shown.height;
  const bounded = Math.min(Math.max(aspect, ASPECTS[0]), ASPECTS[1]);
  const { node, frame } = cards[place];
  node.style.setProperty("--aspect", bounded);
  node.style.setProperty("--basis", `${Math.round(bounded * ROW_HEIGHT)}px`);
  frame.classList.toggle("tall", aspect < bounded);
}

/** Show what matches the filters, in the view that is asked for. */
function update() {
  shownPlaces = [];
  let objects = 0;
  DATASET.images.forEach((image, place) => {
    const wanted = wantedObjects(image);
    cards[place].node.hidden = wanted === null;
    if (wanted === null) return;
    shownPlaces.push(place);
    const shown = viewOf(image, state.view, state.draw);
    objects += state.view === "stored" ? wanted.length : (shown ? shown.objects.filter(isWantedClass).length : 0);
    shapeCard(place);
    if (cards[place].near) drawCard(place);
  });
  byId("count").textContent =
    `${number(shownPlaces.length)} of ${plural(DATASET.images.length, "image")}, ${plural(objects, "object")}`;
  byId("nothing").hidden = shownPlaces.length > 0;
  showFilters();
  showView();
}

function showView() {
  const training = state.view === "training";
  byId("view-stored").setAttribute("aria-pressed", !training);
  byId("view-training").setAttribute("aria-pressed", training);
  byId("draw").hidden = !training;
  byId("note").hidden = !training;
  document.body.classList.toggle("training", training);
}

function makeViews() {
  const draws = Math.max(...DATASET.images.map((image) => image.views.length), 0);
  const { refusal, recipe, masks } = DATASET.training;
  byId("view-training").disabled = draws === 0;
  if (draws === 0) byId("view-training").title = refusal || "no training views were written";
  const names = ["1st", "2nd", "3rd"];
  for (let draw = 0; draw < draws; draw += 1) {
    byId("draw").append(element("option", { value: draw }, `${names[draw] || `${draw + 1}th`} time`));
  }
  byId("note").textContent = `As training with ${recipe} reads it` +
    (masks ? "." : "; it reads no masks.") + " Objects that the loss leaves out are not drawn.";
  for (const view of ["stored", "training"]) {
    byId(`view-${view}`).addEventListener("click", () => {
      state.view = view;
      update();
    });
  }
  byId("draw").addEventListener("change", (event) => {
    state.draw = Number(event.target.value);
    update();
  });
}

function makeLayers() {
  byId("layer-classes-field").hidden = !DATASET.images.some((image) => image.classes);
  for (const layer of ["boxes", "masks", "labels", "classes"]) {
    const box = byId(`layer-${layer}`);
    const show = () => document.body.classList.toggle(`no-${layer}`, !box.checked);
    box.addEventListener("change", show);
    show();
  }
}

function makeFilters() {
  makeClassMenu(update);
  for (const size of SIZES) {
    byId(`size-${size}`).addEventListener("change", (event) => {
      if (event.target.checked) filters.sizes.add(size);
      else filters.sizes.delete(size);
      update();
    });
  }
  byId("search").addEventListener("input", (event) => {
    filters.text = event.target.value;
    update();
  });
  byId("kind").addEventListener("change", (event) => {
    filters.kind = event.target.value;
    update();
  });
  byId("reset").addEventListener("click", () => {
    resetFilters();
    update();
  });
  document.addEventListener("click", (event) => {
    if (!byId("class-menu").contains(event.target)) byId("class-menu").open = false;
  });
}

function chooseClass(label) {
  if (filters.classes.has(label)) filters.classes.delete(label);
  else filters.classes.add(label);
  update();
}

showHead();
byId("charts").append(...charts(chooseClass));
makeViews();
makeLayers();
makeFilters();
listenInDetail();
makeCards();
update();
