/** The board on its node: what must be done, the large view, the words and buttons of a try, and all tries. */

import { el, put, svg } from "../common/dom.js"
import { isPicked, isPinned } from "./state.js"
import { frameRow, tryList } from "./tries.js"
import { Viewer } from "./viewer.js"

/**
 * @param {(key, ...values) => string} text
 * @param {object} actions select(name), use(name), pin(name), ask(name), keep(), remove(name), filter(frame),
 *   preview(name), stop(), unpick(frame)
 * @param {(name) => string} urlOf where a file of the board is found
 */
export class Gallery {
  constructor(text, actions, urlOf, signal) {
    Object.assign(this, { text, urlOf, viewer: new Viewer(text, signal) })
    this.status = statusLine(text, actions)
    this.frames = frameRow(text, actions)
    this.tries = tryList(text, urlOf, actions)
    this.about = aboutLine(text)
    this.buttons = buttonRow(text, actions, this.viewer)
    this.element = el(
      "div",
      { class: "vivid-board", "data-capture-wheel": "true" },
      this.status.element,
      this.frames.element,
      el("div", { class: "vb-main" }, this.viewer.element, this.tries.element),
      this.about.element,
      this.buttons.element,
    )
    this.element.addEventListener("keydown", event => this.key(event, actions), { signal })
  }

  /** Keys that mean the try that is shown, wherever the focus is: left to the page, Delete would delete the node. */
  key(event, actions) {
    if (!this.selected || event.ctrlKey || event.metaKey || event.altKey) return
    const focused = event.target.closest(".vb-try") // what is selected by a key is drawn a moment later
    const name = focused?.dataset.name ?? this.selected.name
    const shows = event.target === this.viewer.element || focused
    const commands = {
      Delete: () => actions.ask(name),
      Backspace: () => actions.ask(name),
      p: () => actions.pin(name),
      ...(shows && { Enter: () => actions.use(name) }),
    }
    const command = commands[event.key.length === 1 ? event.key.toLowerCase() : event.key]
    if (!command) return
    event.preventDefault()
    event.stopPropagation()
    if (!event.repeat) command()
  }

  render(board) {
    const { selected } = board
    this.selected = selected
    this.status.render(board)
    this.frames.render(board)
    this.tries.render(board)
    this.about.render(board)
    this.buttons.render(board)
    this.viewer.show(selected && this.pictureOf(selected), selected ? "" : this.text("empty"))
    this.viewer.play(board.film)
    put(this.element, { "data-empty": !selected })
  }

  pictureOf({ name, before, width, height }) {
    return { name, url: this.urlOf(name), before: before ? this.urlOf(before) : null, width, height }
  }
}

/** What must be done, or why nothing runs; and what is going on. */
function statusLine(text, actions) {
  const line = el("p", {})
  const button = el("button", { type: "button", class: "vb-button" })
  const element = el("div", { class: "vb-status", role: "status", "aria-live": "polite" }, line, button)
  const render = ({ status }) => {
    put(line, { textContent: status.text, title: status.more ?? "" })
    put(element, { "data-kind": status.kind })
    const { does } = status
    put(button, { hidden: !does, textContent: does ? text(does.name) : "" })
    if (does) button.onclick = () => actions[does.name](does.value)
    put(button, { "data-do": does?.name ?? "" })
  }
  return { element, render }
}

/** The words, seed, frame and time of the try that is shown. */
function aboutLine(text) {
  const words = el("p", { class: "vb-words" })
  const facts = el("p", { class: "vb-facts" })
  const element = el("div", { class: "vb-about" }, words, facts)
  const render = ({ selected }) => {
    put(element, { hidden: !selected })
    if (!selected) return
    const { prompt, seed, frame, time } = selected
    put(words, { textContent: prompt || text("noWords"), title: prompt || "" })
    const known = seed !== null && seed !== undefined
    const told = [text("frame", frame), known && text("seed", seed), when(time)]
    put(facts, { textContent: told.filter(Boolean).join(" · ") })
  }
  return { element, render }
}

function when(time) {
  const date = new Date(time)
  if (!time || Number.isNaN(date.getTime())) return ""
  const today = date.toDateString() === new Date().toDateString()
  return today ? date.toLocaleTimeString([], { timeStyle: "short" }) : date.toLocaleString([], { dateStyle: "short", timeStyle: "short" })
}

/** What can be done with the try that is shown; deleting asks once, in the place of the buttons. */
function buttonRow(text, actions, viewer) {
  let now = null
  const button = (name, icon, label, onclick, props = {}) =>
    el(
      "button",
      { type: "button", class: `vb-button${label ? "" : " vb-icon"}`, "data-do": name, onclick, ...props },
      svg(icon),
      label ? el("span", {}, label) : null,
    )
  const named = key => ({ title: text(key), "aria-label": text(key) })
  const use = button("use", "check", " ", () => actions.use(now.name), { class: "vb-button vb-use" })
  const preview = button("preview", "play", text("preview"), () => actions.preview(now.name), {
    title: text("previewTip"),
  })
  const pin = button("pin", "pin", "", () => actions.pin(now.name), named("pinTip"))
  const fit = button("fit", "fit", "", () => viewer.fit(), named("fit"))
  const remove = button("ask", "trash", "", () => actions.ask(now.name), named("delete"))
  const usual = el("div", { class: "vb-buttons" }, use, preview, el("span", { class: "vb-spring" }), fit, pin, remove)
  const question = el("span", { class: "vb-question" })
  const yes = button("remove", "trash", text("delete"), () => actions.remove(now.name))
  const no = button("keep", "close", text("keep"), () => actions.keep())
  const asking = el("div", { class: "vb-buttons", role: "alertdialog", "aria-label": text("delete") }, question, yes, no)
  asking.addEventListener("keydown", event => {
    event.stopPropagation()
    if (event.key === "Escape") actions.keep()
  })
  const element = el("div", { class: "vb-actions" }, usual, asking)
  const render = ({ selected, state, asked, working }) => {
    now = selected
    put(element, { hidden: !selected })
    if (!selected) return
    const [picked, pinned] = [isPicked(state, selected.name), isPinned(state, selected.name)]
    const opens = asked && asking.hidden
    put(usual, { hidden: asked })
    put(asking, { hidden: !asked })
    put(use.lastChild, { textContent: text(picked ? "used" : "use") })
    put(use, { "aria-pressed": picked, title: text(picked ? "usedTip" : "useTip") })
    put(pin, { "aria-pressed": pinned })
    put(preview, { disabled: working })
    put(question, { textContent: text(picked ? "deletePicked" : "deleteQuestion") })
    if (opens) no.focus({ preventScroll: true })
  }
  asking.hidden = true
  return { element, render }
}
