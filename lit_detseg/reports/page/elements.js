// Ways to make elements. Whatever comes from the data becomes text or an attribute, never markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element with attributes, listeners (`onclick`) and children (nodes or texts). */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

/** 12345 -> "12,345"; at most one decimal. */
function number(value) {
  return value.toLocaleString("en-US", { maximumFractionDigits: 1 });
}

/** plural(1, "image") -> "1 image"; plural(2, "image") -> "2 images". */
function plural(count, noun) {
  const many = noun.endsWith("s") ? `${noun}es` : `${noun}s`;
  return `${number(count)} ${count === 1 ? noun : many}`;
}
