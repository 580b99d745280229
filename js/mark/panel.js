/** The panel at the right: the objects, what the last run asks for, the keys. */

import { el, iconButton, put, svg } from "../common/dom.js"
import { suggestions } from "./health.js"
import { colourOf } from "./state.js"

export function sidePanel(editor, text, signal) {
  const objects = el("div", { class: "vm-objects", role: "radiogroup", "aria-label": text("objects") })
  const advice = el("div", { class: "vm-advice" })
  const add = el(
    "button",
    { type: "button", class: "vm-choice vm-alone", "data-do": "add-object", onclick: () => editor.addObject() },
    svg("add"),
    text("addObject"),
  )
  const rows = new Map()
  const render = () => {
    renderObjects(editor, text, objects, rows)
    renderAdvice(editor, text, advice)
  }
  editor.addEventListener("change", render, { signal })
  render()
  return el(
    "aside",
    { class: "vm-panel" },
    el("section", {}, el("h2", {}, text("objects")), objects, add),
    el("section", { "data-part": "advice" }, el("h2", {}, text("lastRun")), advice),
    keyHelp(text),
  )
}

/** Rows are kept while their object is there: a name that is being typed must not lose its field. */
function renderObjects(editor, text, list, rows) {
  const { objects, marks } = editor.shown
  for (const id of [...rows.keys()])
    if (!objects.some(object => object.id === id)) {
      rows.get(id).element.remove()
      rows.delete(id)
    }
  objects.forEach((object, index) => {
    if (!rows.has(object.id)) rows.set(object.id, objectRow(editor, text, object.id))
    const row = rows.get(object.id)
    if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null)
    row.render(object, marks.filter(mark => mark.object === object.id).length)
  })
}

function objectRow(editor, text, id) {
  const pick = el("button", { type: "button", class: "vm-dot", role: "radio", onclick: () => editor.setObject(id) })
  pick.style.setProperty("--vm-object", colourOf(id))
  const name = el("input", {
    type: "text",
    class: "vm-name",
    maxLength: 80,
    placeholder: text("object", id),
    "aria-label": text("nameOf", id),
    onfocus: () => editor.object !== id && editor.setObject(id),
    onchange: () => editor.renameObject(id, name.value.trim()),
  })
  const count = el("span", { class: "vm-count" })
  const eye = iconButton("shown", text("hide"), () => editor.toggleHidden(id), { "data-do": "hide" })
  const remove = iconButton("trash", text("removeObject"), () => editor.removeObject(id), {
    "data-do": "remove-object",
  })
  const element = el(
    "div",
    { class: "vm-object", "data-object": id, onclick: event => event.target === element && editor.setObject(id) },
    pick,
    name,
    count,
    eye,
    remove,
  )
  return {
    element,
    render(object, marked) {
      const current = editor.object === id
      const hidden = editor.hidden.has(id)
      element.classList.toggle("vm-current", current)
      put(pick, { "aria-checked": current, "aria-label": object.name || text("object", id) })
      if (document.activeElement !== name) put(name, { value: object.name })
      put(count, { textContent: marked ? String(marked) : "–", title: text("markedFrames", marked) })
      put(eye, {
        "aria-pressed": hidden,
        title: text(hidden ? "show" : "hide"),
        "aria-label": text(hidden ? "show" : "hide"),
      })
      element.classList.toggle("vm-hidden", hidden)
    },
  }
}

function renderAdvice(editor, text, box) {
  const key = [editor.track, editor.stale, editor.doc.objects.map(object => object.name).join("\n")]
  if (box.shownFor && box.shownFor.every((value, index) => value === key[index])) return
  box.shownFor = key
  const found = suggestions(editor.track)
  const name = id => editor.doc.objects.find(object => object.id === id)?.name || text("object", id)
  const items = found.map(({ object, frame, text: told, kind }) => {
    const dot = el("span", { class: "vm-spot" })
    dot.style.setProperty("--vm-object", colourOf(object))
    const jump = () => {
      editor.setObject(object)
      editor.goTo(frame)
    }
    return el(
      "button",
      { type: "button", class: "vm-suggestion", title: `${name(object)}: ${told}`, "data-frame": frame, onclick: jump },
      dot,
      text(kind === "add" ? "adviceAdd" : "adviceCheck", frame),
    )
  })
  const nothing = editor.track ? (found.length ? null : text("nothingToCorrect")) : text("noRunYet")
  box.replaceChildren(
    ...(nothing ? [el("p", {}, nothing)] : items),
    ...(editor.track && editor.stale ? [el("p", { class: "vm-stale" }, text("stale"))] : []),
  )
}

const KEYS = [
  ["← →", "keyStep"],
  ["⇧ ← →", "keyTen"],
  ["X", "keyFlip"],
  ["Alt", "keyOther"],
  ["Del", "keyDelete"],
  ["Ctrl Z", "undo"],
  ["[ ]", "size"],
  ["Space", "keyPan"],
  ["N", "notHere"],
  ["M", "keyMasks"],
  ["K", "play"],
  ["1–9", "keyObject"],
  ["Ctrl ⏎", "run"],
  ["⏎", "keySave"],
  ["Esc", "close"],
]

function keyHelp(text) {
  const rows = KEYS.flatMap(([keys, meaning]) => [el("dt", {}, keys), el("dd", {}, text(meaning))])
  return el("details", { class: "vm-keys" }, el("summary", {}, text("keys")), el("dl", {}, ...rows))
}
