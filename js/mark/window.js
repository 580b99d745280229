/** What stands around the stage: the head with its buttons, the banner, the waiting and the asking. */

import { el, iconButton, put, svg } from "../common/dom.js"
import { sidePanel } from "./panel.js"
import { Timeline } from "./timeline.js"
import { optionRow, toolColumn } from "./toolbar.js"
import { transport } from "./transport.js"

/** Builds the window. Gives {window, render, tell, ask, asking, stopAsking}. */
export function windowOf(host, editor, stage, actions, isThere, signal) {
  const { text } = host
  const head = headOf(host, editor, actions)
  const cover = coverOf(text, actions)
  const banner = bannerOf(editor, text)
  const question = questionOf(text)
  const timeline = new Timeline(editor, text, signal)
  const middle = el(
    "div",
    { class: "vm-middle" },
    optionRow(editor, text, signal),
    banner.element,
    el("div", { class: "vm-holder" }, stage.element, cover.element),
    transport(editor, text, isThere, signal),
  )
  const window = el(
    "dialog",
    { class: "vivid-mark", "aria-label": `${text("title")}: ${host.title}`, "aria-modal": "true" },
    head.element,
    toolColumn(editor, text, stage, signal),
    middle,
    sidePanel(editor, text, signal),
    timeline.element,
    question.element,
  )
  window.setAttribute("closedby", "none")
  return {
    window,
    render() {
      head.render()
      banner.render()
    },
    /** What is going on: {kind: "waiting" | "failed" | "running" | "note" | "problem", ...}, or null for nothing. */
    tell(status) {
      cover.show(status)
      head.show(status)
      banner.show(status)
    },
    ask: question.ask,
    stopAsking: () => question.answer(null),
    get asking() {
      return question.open
    },
  }
}

function headOf(host, editor, actions) {
  const { text } = host
  const about = el("span", { class: "vm-about" })
  const status = el("span", { class: "vm-status", role: "status", "aria-live": "polite" })
  const run = el(
    "button",
    {
      type: "button",
      class: "vm-choice vm-alone vm-run",
      "data-do": "run",
      title: `${text("runTip")} (Ctrl+Enter)`,
      onclick: actions.run,
    },
    svg("run"),
    text("run"),
  )
  const stop = el(
    "button",
    { type: "button", class: "vm-choice vm-alone", "data-do": "stop", hidden: true, onclick: actions.cancel },
    text("cancel"),
  )
  const save = el(
    "button",
    {
      type: "button",
      class: "vm-choice vm-alone vm-primary",
      "data-do": "save",
      title: `${text("saveTip")} (Enter)`,
      onclick: actions.save,
    },
    text("save"),
  )
  const close = iconButton("close", `${text("close")} (Esc)`, actions.close, { "data-do": "close" })
  let now = null
  const render = () => {
    const { clip } = editor
    put(about, { textContent: clip ? text("about", clip.frames, clip.width, clip.height) : "" })
    put(run, { disabled: !clip || now?.kind === "running" })
    save.classList.toggle("vm-unsaved", editor.unsaved)
  }
  const show = told => {
    now = told
    put(stop, { hidden: told?.kind !== "running" })
    put(status, { textContent: told?.kind === "running" ? stepText(text, told) : "" })
    render()
  }
  const element = el(
    "header",
    { class: "vm-head" },
    el("strong", {}, text("title")),
    el("span", { class: "vm-node" }, host.title),
    about,
    el("span", { class: "vm-spring" }),
    status,
    stop,
    run,
    save,
    close,
  )
  render()
  return { element, render, show }
}

function stepText(text, { step, name, part }) {
  if (step === "queued" || !name) return text("queued")
  return part === null || part === undefined ? text("running", name) : text("runningPart", name, Math.round(part * 100))
}

/** Over the stage while there is no clip: what is waited for, or what went wrong. */
function coverOf(text, actions) {
  const line = el("p", {})
  const bar = el("progress", { max: 1 })
  const cancel = el(
    "button",
    { type: "button", class: "vm-choice vm-alone", "data-do": "cancel", onclick: actions.cancel },
    text("cancel"),
  )
  const retry = el(
    "button",
    { type: "button", class: "vm-choice vm-alone vm-primary", "data-do": "retry", onclick: actions.retry },
    text("retry"),
  )
  const spinner = el("div", { class: "vm-spinner" })
  const element = el(
    "div",
    { class: "vm-cover", role: "status", hidden: true },
    spinner,
    line,
    bar,
    el("div", {}, cancel, retry),
  )
  const show = told => {
    const [waits, failed] = [told?.kind === "waiting", told?.kind === "failed"]
    put(element, { hidden: !waits && !failed })
    element.classList.toggle("vm-failed", failed)
    put(line, { textContent: failed ? told.text : waits ? `${text("fetching")} ${stepText(text, told)}` : "" })
    const known = waits && typeof told.part === "number"
    if (known) bar.value = told.part
    for (const [part, shown] of [
      [spinner, waits],
      [bar, known],
      [cancel, waits],
      [retry, failed],
    ])
      put(part, { hidden: !shown })
  }
  return { element, show }
}

/** What the user must know of the marks: another clip, frames that are gone, a text that can't be read. */
function bannerOf(editor, text) {
  const element = el("div", { class: "vm-banner", role: "alert", hidden: true })
  let [problem, note, shown] = [null, null, ""]
  const fill = (line, buttons) => {
    if (shown === line) return
    shown = line
    put(element, { hidden: !line })
    element.replaceChildren(
      svg("warning"),
      el("p", {}, line),
      ...buttons.map(({ name, act }) =>
        el("button", { type: "button", class: "vm-choice vm-alone", "data-do": name, onclick: act }, text(name)),
      ),
    )
  }
  const render = () => {
    const { clip, doc, beyond } = editor
    const lines = [problem, note].filter(Boolean)
    const buttons = []
    if (editor.otherClip) {
      lines.push(
        text(
          "otherClip",
          doc.clip.frames,
          `${doc.clip.width} × ${doc.clip.height}`,
          clip.frames,
          `${clip.width} × ${clip.height}`,
        ),
      )
      buttons.push({ name: "adopt", act: () => editor.adopt() })
    }
    if (beyond.length) {
      lines.push(text("beyond", beyond.length, editor.last))
      buttons.push({ name: "removeBeyond", act: () => editor.removeBeyond() })
    }
    fill(lines.join(" "), buttons)
  }
  const show = told => {
    if (told?.kind === "problem") problem = told.text
    note = told?.kind === "note" ? told.text : null
    render()
  }
  return { element, render, show }
}

/** A question over the window, with an answer for each button; resolves to null when it is waved away. */
function questionOf(text) {
  const line = el("p", { id: "vm-question" })
  const buttons = el("div", { class: "vm-answers" })
  const box = el(
    "div",
    { class: "vm-question", role: "alertdialog", "aria-modal": "true", "aria-labelledby": "vm-question" },
    line,
    buttons,
  )
  const element = el("div", { class: "vm-shade", hidden: true }, box)
  let resolve = null
  const answer = value => {
    put(element, { hidden: true })
    resolve?.(value)
    resolve = null
  }
  element.addEventListener("keydown", event => {
    if (event.key !== "Tab") return
    const all = [...buttons.children]
    const at = all.indexOf(document.activeElement)
    all[(at + (event.shiftKey ? -1 : 1) + all.length) % all.length].focus()
    event.preventDefault()
  })
  return {
    element,
    answer,
    get open() {
      return !element.hidden
    },
    ask(asked, answers) {
      line.textContent = asked
      buttons.replaceChildren(
        ...answers.map((name, index) =>
          el(
            "button",
            {
              type: "button",
              "data-do": name,
              class: `vm-choice vm-alone${index ? "" : " vm-primary"}`,
              onclick: () => answer(name),
            },
            text(name),
          ),
        ),
      )
      put(element, { hidden: false })
      buttons.firstChild.focus()
      return new Promise(done => (resolve = done))
    },
  }
}
