// An image with its objects drawn over it.
"use strict";

/** The class of an object: {name, colour, source_id}. */
function classOf(object) {
  return DATASET.classes[object.label];
}

/** What of an image to show: its stored form, or one of the times it is trained on; may be none. */
function viewOf(image, view, draw) {
  return view === "stored" ? image : image.views[draw];
}

/**
 * The image, boxes, masks and labels, in a frame of the image's shape. Small objects lie on top.
 *
 * @param shown an image of the data, or one of its `views`.
 * @param text what the image is, for those who do not see it.
 * @param isMeant says which objects to show clearly; the others become pale and have no name.
 * @param tags how many objects get their name written beside them, the largest first.
 */
function picture(shown, text, { isMeant = () => true, tags = Infinity } = {}) {
  const { width, height } = shown;
  const frame = element(
    "div",
    { class: "picture", style: `aspect-ratio: ${width} / ${height}` },
    element("img", {
      src: `images/${shown.file}`,
      alt: text,
      class: Math.max(width, height) <= 64 ? "pixelated" : null,
    }),
    shown.classes ? element("img", { src: `images/${shown.classes}`, alt: "", class: "classes" }) : null,
  );
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  if (shown.void) drawing.append(maskOf(shown.void, "void"));
  const largestFirst = shown.objects
    .map((object, place) => ({ object, place, pale: !isMeant(object) }))
    .sort((a, b) => areaOf(b.object) - areaOf(a.object) || a.place - b.place);
  for (const { object, place, pale } of largestFirst) drawing.append(drawn(object, place, pale));
  frame.append(drawing);
  const named = largestFirst.filter(({ pale }) => !pale).slice(0, tags);
  frame.append(...named.map(({ object, place }) => tag(object, place, width, height)));
  return frame;
}

/** Of the box, in pixels. */
function areaOf(object) {
  const [left, top, right, bottom] = object.box;
  return (right - left) * (bottom - top);
}

/** The mask and the box of one object. */
function drawn(object, place, pale) {
  const [left, top, right, bottom] = object.box;
  const box = { x: left, y: top, width: right - left, height: bottom - top };
  const classes = ["object", pale && "pale", object.learned === false && "unlearned"];
  return shape(
    "g",
    {
      class: classes.filter(Boolean).join(" "),
      style: `color: ${classOf(object).colour}`,
      "data-place": place,
      "data-label": object.label,
    },
    shape("title", {}, describe(object)),
    object.mask ? maskOf(object.mask, "mask") : null,
    shape("rect", { class: "box under", ...box }),
    shape("rect", { class: "box", ...box }),
  );
}

/** The paths of a mask, cut to its window by the viewport of an SVG of their own. */
function maskOf(mask, name) {
  const paths = mask.paths.map((path) => shape("path", { d: path }));
  if (!mask.window) return shape("g", { class: name }, ...paths);
  const [left, top, right, bottom] = mask.window;
  const [width, height] = [right - left, bottom - top];
  const window = { x: left, y: top, width, height, viewBox: `${left} ${top} ${width} ${height}` };
  return shape("g", { class: name }, shape("svg", window, ...paths));
}

/** The name of an object, beside its box and inside the image. */
function tag(object, place, width, height) {
  const [left, top, right] = object.box;
  const above = top / height > 0.09;
  const toTheLeft = left / width > 0.65;
  const side = toTheLeft
    ? `right: ${clamp(100 - (right / width) * 100)}%`
    : `left: ${clamp((left / width) * 100)}%`;
  return element(
    "span",
    {
      class: `tag${above ? " above" : ""}`,
      style: `${side}; top: ${clamp((top / height) * 100)}%; --colour: ${classOf(object).colour}`,
      "data-place": place,
    },
    [classOf(object).name, ...flagsOf(object)].join(", "),
  );
}

function clamp(percent) {
  return Math.min(Math.max(percent, 0), 97).toFixed(2);
}

function flagsOf(object) {
  return (object.flags || []).filter((flag) => flag !== "truncated");
}

function describe(object) {
  return [classOf(object).name, ...(object.flags || [])].join(", ");
}
