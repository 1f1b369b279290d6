// Small words for the DOM. Every text goes in as a text node: data can never become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("a", { class: "x", href }, "text", child). Properties beginning with "on" are listeners. */
export function h(tag, given = {}, ...children) {
  return fill(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function s(tag, given = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), given, children);
}

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set an attribute where it differs; null, undefined and false take it away. */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value === true ? "" : value)) {
    element.setAttribute(name, value === true ? "" : value);
  }
}

/** Set the text where it differs, so that a selection in it survives a poll. */
export function text(element, value) {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

/** Show or hide. */
export function show(element, visible) {
  element.hidden = !visible;
  return element;
}

/**
 * Bring the children of `parent` to `items`, one each, in order. Elements are kept by their key: what a reader has
 * opened, selected or scrolled stays. `make(item)` gives a new element; `update(element, item)` brings one up to date.
 */
export function each(parent, items, key, make, update = () => {}) {
  const names = items.map((item) => String(key(item)));
  const wanted = new Set(names);
  const known = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.key)) known.set(child.dataset.key, child);
    else child.remove();
  }
  let place = parent.firstElementChild; // elements that stand right are not touched: moving one would end its focus
  items.forEach((item, index) => {
    const element = known.get(names[index]) ?? make(item);
    element.dataset.key = names[index];
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  });
}

/** A section with a heading that names it: { section, body }. */
export function section(id, title, ...aside) {
  const body = h("div", { class: "body" });
  const heading = h("h2", { id: `${id}-title` }, title);
  return {
    section: h(
      "section", { id, class: "card", "aria-labelledby": `${id}-title` }, h("header", {}, heading, ...aside), body,
    ),
    body,
  };
}
