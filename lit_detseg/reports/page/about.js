// The head of the page: name, counts, and where everything comes from.
"use strict";

function showHead() {
  const objects = DATASET.statistics.objects_of_class.reduce((sum, count) => sum + count, 0);
  document.title = `${DATASET.name} – ${plural(DATASET.images_in_set, "image")}`;
  byId("name").textContent = DATASET.name;
  const facts = [
    ["images", DATASET.images_in_set],
    ["objects", objects],
    ["classes", DATASET.classes.length],
    ["shown here", DATASET.images.length],
  ];
  for (const [name, value] of facts) {
    byId("facts").append(element("div", {}, element("dt", {}, name), element("dd", {}, number(value))));
  }
  byId("about-text").append(
    ...DATASET.sets.map(aboutSet),
    aboutTraining(),
    aboutPage(),
  );
}

function aboutSet(set) {
  const report = set.report;
  const rows = [
    ["shards", `${plural(set.shards, "shard")}, ${plural(set.images, "image")}`],
    ["index SHA-256", code(set.sha256)],
    ["source", report.source ? JSON.stringify(report.source) : null],
    ["read", report.images_read === undefined ? null :
      `${plural(report.images_read, "image")}, ${plural(report.objects_read, "object")}`],
    ["bad rows", badRows(report)],
  ];
  return section(set.location, table(rows), rowList(report.dropped_rows), rowList(report.clipped_rows));
}

/** What packing left out or cut, in words. */
function badRows(report) {
  const dropped = Object.entries(report.dropped || {})
    .map(([kind, count]) => `${number(count)} dropped (${kind.replaceAll("_", " ")})`);
  if (report.clipped) dropped.push(`${number(report.clipped)} cut at the border`);
  return dropped.length ? dropped.join(", ") : "none";
}

function rowList(rows) {
  if (!rows || !rows.length) return null;
  return element("ul", { class: "rows" }, ...rows.map((row) => element("li", {}, row)));
}

function aboutTraining() {
  const training = DATASET.training;
  const title = "As the loss sees it";
  if (training.refusal) {
    return section(title, table([["recipe", training.recipe]]), element("p", {}, training.refusal));
  }
  const left = training.train_on_difficult ? "crowds" : "crowds and objects marked difficult";
  return section(
    title,
    table([
      ["recipe", training.recipe],
      ["transforms", training.transforms.length
        ? element("ol", { class: "rows" }, ...training.transforms.map((one) => element("li", {}, code(one))))
        : "none"],
      ["masks", training.masks ? "read" : "not read: this training does not use them"],
      ["left out", `${left}, and what is moved out of the image`],
      ["seed", number(training.seed)],
      ["images per step", number(training.batch)],
      ["sampling", training.sampling === "none" ? null : training.sampling],
    ]),
    element("p", {}, "Images, boxes, labels and masks as training reads them at the positions of " +
      "its first epochs, with its own random numbers; the padding that a batch adds to the right " +
      "and below is not shown."),
  );
}

function aboutPage() {
  const remote = DATASET.is_remote
    ? element("p", {}, `The set is remote: images are drawn from ${DATASET.remote_shards} of its shards.`)
    : null;
  return section(
    "This page",
    table([["command", code(DATASET.command)]]),
    remote,
    element("p", {}, "Filters look at objects as stored, in pixels of the original image. Dashed " +
      "objects are left out in training. Sizes of objects are COCO's: small below 32², large from " +
      "96² pixels."),
  );
}

function section(title, ...body) {
  return element("section", {}, element("h2", {}, title), ...body);
}

function table(rows) {
  const filled = rows.filter(([, value]) => value !== null && value !== undefined);
  return element("table", {}, element("tbody", {}, ...filled.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)))));
}

function code(text) {
  return element("code", {}, text);
}
