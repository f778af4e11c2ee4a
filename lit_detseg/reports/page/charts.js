// Histograms of the whole set.
"use strict";

const LOGARITHMIC_FROM = 100; // largest count over smallest, so that small bars are still seen
const NAME_LETTERS = 42; // below the bars of one chart

const KINDS = {
  crowd: "crowd",
  difficult: "difficult",
  truncated: "truncated",
  polygons: "with polygons",
  "run lengths": "with run-length masks",
};

/** All charts, in order. `choose(label)` is called when a class is clicked. */
function charts(choose) {
  const facts = DATASET.statistics;
  const all = facts.records_read === DATASET.images_in_set;
  const some = `from ${number(facts.records_read)} of ${plural(DATASET.images_in_set, "image")}`;
  const sizes = Object.entries(facts.sizes)
    .map(([name, count]) => `${number(count)} ${name}`)
    .join(", ");
  return [
    classChart(choose),
    barChart("object-sizes", "Size of objects", "√area, pixels", facts.object_sides, {
      note: [sizes, all ? "" : some].filter(Boolean).join("; "),
      tone: (bin) => (bin.to === null || bin.to > 96 ? "large" : bin.to > 32 ? "medium" : "small"),
    }),
    barChart("objects-per-image", "Objects per image", "objects", facts.objects_per_image, {
      whole: true,
      note: `${number(facts.images_without_objects)} without, at most ${number(facts.most_objects)}`,
    }),
    barChart("longer-sides", "Longer side of images", "pixels", facts.longer_sides, {
      note: `${facts.longer_side_range.map(number).join(" to ")}; shorter side ` +
        facts.shorter_side_range.map(number).join(" to "),
    }),
    barChart("aspect-ratios", "Shape of images", "height / width", facts.aspect_ratios, {
      note: "below 1 is wide, above 1 is tall",
    }),
    DATASET.pixel_counts ? pixelChart() : null,
  ].filter(Boolean);
}

/** One row per class, most objects first; a row is a button. */
function classChart(choose) {
  const counts = DATASET.statistics.objects_of_class;
  const images = DATASET.statistics.images_of_class;
  const scale = scaleOf(counts);
  const labels = counts.map((_, label) => label).sort((a, b) => counts[b] - counts[a] || a - b);
  const rows = labels.map((label) => {
    const name = DATASET.classes[label].name;
    const text = `${name}: ${plural(counts[label], "object")} on ${plural(images[label], "image")}`;
    return element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: "class-row",
          title: text,
          "aria-label": text,
          "aria-pressed": "false",
          "data-label": label,
          "data-count": counts[label],
          onclick: () => choose(label),
        },
        element("span", { class: "class-name" }, name),
        element("span", { class: "track" }, rowBar(label, scale.of(counts[label]))),
        element("span", { class: "class-count" }, number(counts[label])),
      ),
    );
  });
  const list = element("ol", { class: "class-rows" }, ...rows);
  return chart("classes", "Objects of each class", scale.name, list, "wide", kindsNote());
}

/** What else the records say of the objects: flags and kinds of masks. */
function kindsNote() {
  const { kinds, objects_read: objects } = DATASET.statistics;
  const words = Object.entries(kinds).map(([name, count]) => `${number(count)} ${KINDS[name]}`);
  return words.length ? `Of ${plural(objects, "object")}: ${words.join(", ")}` : "";
}

/** The same for the classes of pixels, in shares. */
function pixelChart() {
  const counts = DATASET.pixel_counts;
  const total = Math.max(counts.reduce((sum, count) => sum + count, 0), 1);
  const most = Math.max(...counts, 1);
  const labels = counts.map((_, label) => label).sort((a, b) => counts[b] - counts[a] || a - b);
  const rows = labels.map((label) =>
    element(
      "li",
      { class: "class-row", "data-label": label, "data-count": counts[label] },
      element("span", { class: "class-name" }, DATASET.classes[label].name),
      element("span", { class: "track" }, rowBar(label, counts[label] / most)),
      element("span", { class: "class-count" }, `${((100 * counts[label]) / total).toFixed(1)} %`),
    ),
  );
  return chart("pixels", "Pixels of each class", "", element("ol", { class: "class-rows" }, ...rows), "");
}

/** A share of the track; whatever is not nothing can be seen. */
function rowBar(label, share) {
  const width = share > 0 ? Math.max(share * 100, 1.5) : 0;
  const colour = DATASET.classes[label].colour;
  return element("span", { class: "bar", style: `width: ${width}%; background: ${colour}` });
}

/** Upright bars, one per bin. */
function barChart(id, title, unit, bins, { note = "", whole = false, tone = () => "" } = {}) {
  const scale = scaleOf(bins.map((bin) => bin.count));
  const bars = bins.map((bin) => {
    const range = rangeOf(bin, whole);
    return element(
      "li",
      {
        class: `column ${tone(bin)}`,
        title: `${range} ${unit}: ${number(bin.count)}`,
        "aria-label": `${range} ${unit}: ${number(bin.count)}`,
        "data-count": bin.count,
        "data-from": bin.from,
      },
      element("span", { class: "column-count" }, short(bin.count)),
      element("span", { class: "bar", style: `height: ${scale.of(bin.count) * 100}%` }),
      element("span", { class: "column-name" }, String(bin.from)),
    );
  });
  const body = bins.length
    ? element("ol", { class: isCrowded(bins) ? "columns crowded" : "columns" }, ...bars)
    : element("p", { class: "quiet-text" }, "nothing to count");
  return chart(id, title, [unit, scale.name].filter(Boolean).join(", "), body, "", note);
}

/** Whether the numbers below the bars would touch each other. */
function isCrowded(bins) {
  return bins.reduce((letters, bin) => letters + String(bin.from).length + 1, 0) > NAME_LETTERS;
}

function chart(id, title, unit, body, extra, note = "") {
  return element(
    "figure",
    { class: `chart ${extra}`, id: `chart-${id}` },
    element("figcaption", {}, element("b", {}, title), unit ? element("span", {}, unit) : null),
    body,
    note ? element("p", { class: "quiet-text" }, note) : null,
  );
}

/** What part of the full length a count gets; by its logarithm where counts differ a lot. */
function scaleOf(counts) {
  const filled = counts.filter((count) => count > 0);
  const most = Math.max(...filled, 1);
  if (most / Math.min(...filled, most) < LOGARITHMIC_FROM) {
    return { name: "", of: (count) => count / most };
  }
  return { name: "log scale", of: (count) => (count ? Math.log1p(count) / Math.log1p(most) : 0) };
}

function rangeOf(bin, whole) {
  if (bin.to === null) return `${bin.from} or more`;
  if (!whole) return `${bin.from} to ${bin.to}`;
  const last = bin.to - 1;
  return last === bin.from ? `${bin.from}` : `${bin.from} to ${last}`;
}

/** 12345 -> "12k". */
function short(count) {
  if (count < 10000) return count ? number(count) : "";
  return count < 1e6 ? `${Math.round(count / 1e3)}k` : `${(count / 1e6).toFixed(1)}M`;
}
