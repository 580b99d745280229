/** The tries of a board as small pictures, the newest first, and above them the frames they belong to. */

import { el, put, svg } from "../common/dom.js"
import { isPicked, isPinned, pickOf } from "./state.js"

const BACK = new Set(["ArrowLeft", "ArrowUp"])
const ON = new Set(["ArrowRight", "ArrowDown"])

/** @param {{select(name), use(name)}} actions */
export function tryList(text, urlOf, actions) {
  const element = el("div", { class: "vb-tries", role: "listbox", "aria-label": text("tries") })
  const items = new Map()
  let order = []
  element.addEventListener("keydown", event => key(event, order, items, actions, element))
  const render = board => {
    const shown = board.shown
    order = shown.map(candidate => candidate.name)
    for (const name of [...items.keys()])
      if (!order.includes(name)) {
        items.get(name).element.remove()
        items.delete(name)
      }
    shown.forEach((candidate, index) => {
      if (!items.has(candidate.name)) items.set(candidate.name, item(text, urlOf(candidate.name), actions, candidate))
      const ours = items.get(candidate.name).element
      // Only what stands elsewhere is moved: to be moved takes the focus away.
      if (element.children[index] !== ours) element.insertBefore(ours, element.children[index] ?? null)
    })
    for (const candidate of shown) items.get(candidate.name).render(board)
    put(element, { hidden: !shown.length })
  }
  return { element, render, reveal: name => reveal(element, items.get(name)?.element) }
}

function item(text, url, actions, candidate) {
  const { name, frame, prompt } = candidate
  const picture = el("img", {
    src: url,
    alt: "",
    loading: "lazy",
    decoding: "async",
    draggable: false,
    onerror: () => element.classList.add("vb-gone"),
  })
  const number = el("span", { class: "vb-number" }, String(frame))
  const marks = el("span", { class: "vb-marks" }, svg("check"), svg("pin"))
  const element = el(
    "button",
    {
      type: "button",
      role: "option",
      class: "vb-try",
      "data-name": name,
      title: prompt || text("noWords"),
      onclick: () => actions.select(name),
      ondblclick: () => actions.use(name),
    },
    picture,
    number,
    marks,
  )
  const render = ({ state, selected, several }) => {
    const [picked, pinned] = [isPicked(state, name), isPinned(state, name)]
    const now = selected?.name === name
    put(element, { "aria-selected": now, "data-picked": picked, "data-pinned": pinned, tabIndex: now ? 0 : -1 })
    put(number, { hidden: !several })
    const said = [text("frame", frame), picked && text("picked"), pinned && text("pinned"), prompt]
    put(element, { "aria-label": said.filter(Boolean).join(", ") })
  }
  return { element, render }
}

/** Scroll the list alone: the browser's own way would scroll the graph too. */
function reveal(list, one) {
  if (!one) return
  const within = (now, start, size, room) => Math.min(Math.max(now, start + size - room), start)
  list.scrollTop = within(list.scrollTop, one.offsetTop, one.offsetHeight, list.clientHeight)
  list.scrollLeft = within(list.scrollLeft, one.offsetLeft, one.offsetWidth, list.clientWidth)
}

function key(event, names, items, actions, list) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const at = names.indexOf(event.target.closest("[data-name]")?.dataset.name)
  const last = names.length - 1
  const to = { ...Object.fromEntries([...BACK].map(name => [name, Math.max(at - 1, 0)])), Home: 0, End: last }
  for (const name of ON) to[name] = Math.min(at + 1, last)
  if (at < 0 || !(event.key in to)) return
  event.preventDefault()
  event.stopPropagation()
  const name = names[to[event.key]]
  const { element } = items.get(name)
  actions.select(name)
  element.focus({ preventScroll: true })
  reveal(list, element)
}

/** The frames that have tries, to look at those of one; hidden while there is only one. */
export function frameRow(text, actions) {
  const element = el("div", { class: "vb-frames", role: "radiogroup", "aria-label": text("frames") })
  let shown = ""
  const render = board => {
    const { frames, filter, state, several } = board
    put(element, { hidden: !several })
    const key = JSON.stringify([frames, filter, state.picks])
    if (key === shown) return
    shown = key
    const chip = (frame, label, picked) =>
      el(
        "button",
        {
          type: "button",
          class: "vb-chip",
          role: "radio",
          "aria-checked": filter === frame,
          "data-frame": frame ?? "all",
          onclick: () => actions.filter(frame),
        },
        picked ? svg("check") : null,
        label,
      )
    element.replaceChildren(
      chip(null, text("all"), false),
      ...frames.map(frame => chip(frame, text("frame", frame), Boolean(pickOf(state, frame)))),
    )
  }
  return { element, render }
}
