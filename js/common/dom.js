/** Small helpers that build elements and icons. */

const SVG = "http://www.w3.org/2000/svg"

/** An element. Props "on..." are listeners; class, role, "data-..." and "aria-..." attributes; others properties. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name === "class" || name === "role" || /^(data|aria)-/.test(name)) element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children.filter(child => child !== null && child !== undefined))
  return element
}

/** A button with an icon; its name is what a screen reader says and a pointer that rests on it shows. */
export function iconButton(icon, name, onclick, props = {}) {
  return el(
    "button",
    { type: "button", class: "vm-icon", title: name, "aria-label": name, onclick, ...props },
    svg(icon),
  )
}

/** Change text and flags of an element only where they differ, so that a page that changes often stays cheap. */
export function put(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (/^(data|aria)-/.test(name)) {
      if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value))
    } else if (element[name] !== value) element[name] = value
  }
}

const PATHS = {
  add: "M12 5v14M5 12h14",
  point: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 8v8M8 12h8",
  negative: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M8 12h8",
  box: "M4 7V4h3M17 4h3v3M20 17v3h-3M7 20H4v-3M8 4h8M20 8v8M16 20H8M4 16V8",
  paint: "M14 4l6 6l-8.5 8.5a3 3 0 0 1-4.2 0l-1.8-1.8a3 3 0 0 1 0-4.2zM4 21c2 0 3-1 3.2-2.6M11 7l6 6",
  erase:
    "M8 20h12M5.5 15.5l9-9a2 2 0 0 1 2.8 0l2.7 2.7a2 2 0 0 1 0 2.8L12 20H8l-2.5-2.5a1.4 1.4 0 0 1 0-2M10 11l5.5 5.5",
  pan: "M12 3v18M3 12h18M9.5 5.5L12 3l2.5 2.5M9.5 18.5L12 21l2.5-2.5M5.5 9.5L3 12l2.5 2.5M18.5 9.5L21 12l-2.5 2.5",
  undo: "M9 6L4 11l5 5M4 11h10a6 6 0 0 1 0 12h-2",
  redo: "M15 6l5 5l-5 5M20 11H10a6 6 0 0 0 0 12h2",
  absent: "M3 12s3.5-6 9-6s9 6 9 6s-3.5 6-9 6s-9-6-9-6M4 20L20 4",
  shown: "M3 12s3.5-6 9-6s9 6 9 6s-3.5 6-9 6s-9-6-9-6M12 9.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  previous: "M15 5l-8 7l8 7",
  next: "M9 5l8 7l-8 7",
  first: "M18 5l-8 7l8 7M6 5v14",
  last: "M6 5l8 7l-8 7M18 5v14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M9 9h6v6H9z",
  close: "M6 6l12 12M18 6L6 18",
  run: "M7 4.5v15l12-7.5z",
  warning: "M12 4L2.5 20h19zM12 10v5M12 17.5v.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  pin: "M9 4h6M10 4l-.5 6.5L6.5 14h11l-3-3.5L14 4M12 14v6",
  wipe: "M9 7l-5 5l5 5M15 7l5 5l-5 5",
}

export function svg(icon) {
  const picture = document.createElementNS(SVG, "svg")
  picture.setAttribute("viewBox", "0 0 24 24")
  picture.setAttribute("aria-hidden", "true")
  const path = document.createElementNS(SVG, "path")
  path.setAttribute("d", PATHS[icon])
  picture.append(path)
  return picture
}
