/** The tools at the left, and above the stage what the chosen tool can be told. */

import { el, iconButton, put, svg } from "../common/dom.js"
import { RADIUS, TOOLS } from "./editor.js"
import { saysNotHere } from "./state.js"

const KEY = { point: "P", box: "B", paint: "D", erase: "E", pan: "H" }

export function toolColumn(editor, text, stage, signal) {
  const choose = TOOLS.map(tool =>
    el(
      "button",
      {
        type: "button",
        class: "vm-icon vm-tool",
        role: "radio",
        title: `${text(tool)} (${KEY[tool]})`,
        "aria-label": text(tool),
        "data-tool": tool,
        onclick: () => editor.setTool(tool),
      },
      svg(tool),
    ),
  )
  const undo = iconButton("undo", `${text("undo")} (Ctrl+Z)`, () => editor.undo(), { "data-do": "undo" })
  const redo = iconButton("redo", `${text("redo")} (Ctrl+Shift+Z)`, () => editor.redo(), { "data-do": "redo" })
  const fit = iconButton("fit", `${text("fit")} (0)`, () => stage.fit(), { "data-do": "fit" })
  const render = () => {
    choose.forEach(button => put(button, { "aria-checked": button.dataset.tool === editor.tool }))
    put(undo, { disabled: !editor.canUndo })
    put(redo, { disabled: !editor.canRedo })
  }
  editor.addEventListener("change", render, { signal })
  render()
  const group = el("div", { class: "vm-group", role: "radiogroup", "aria-label": text("tools") }, ...choose)
  return el("div", { class: "vm-tools" }, group, el("hr"), undo, redo, el("hr"), fit)
}

export function optionRow(editor, text, signal) {
  const label = value =>
    el(
      "button",
      {
        type: "button",
        class: "vm-choice",
        role: "radio",
        "data-label": value,
        onclick: () => editor.set({ label: value }),
      },
      svg(value ? "point" : "negative"),
      text(value ? "positive" : "negative"),
    )
  const labels = [label(1), label(0)]
  const signs = el(
    "div",
    { class: "vm-choices", role: "radiogroup", "aria-label": text("sign"), title: "X" },
    ...labels,
  )
  const brush = brushOptions(editor, text)
  const hint = el("span", { class: "vm-hint" })
  const absent = el(
    "button",
    {
      type: "button",
      class: "vm-choice vm-alone",
      "data-do": "absent",
      title: `${text("notHereTip")} (N)`,
      onclick: () => editor.toggleNotHere(),
    },
    svg("absent"),
    text("notHere"),
  )
  const clear = el(
    "button",
    {
      type: "button",
      class: "vm-choice vm-alone",
      "data-do": "clear",
      title: text("clearTip"),
      onclick: () => editor.clearFrame(),
    },
    svg("trash"),
    text("clear"),
  )
  const render = () => {
    const { tool, mark } = editor
    put(signs, { hidden: tool !== "point" })
    put(brush.element, { hidden: tool !== "paint" && tool !== "erase" })
    labels.forEach(button => put(button, { "aria-checked": Number(button.dataset.label) === editor.label }))
    brush.render()
    put(hint, { textContent: text(`hint_${tool}`) })
    put(absent, { "aria-pressed": saysNotHere(mark) })
    put(clear, { disabled: !mark.points.length && !mark.box && !mark.strokes.length && !mark.painted })
  }
  editor.addEventListener("change", render, { signal })
  render()
  return el(
    "div",
    { class: "vm-options" },
    signs,
    brush.element,
    hint,
    el("span", { class: "vm-spring" }),
    absent,
    clear,
  )
}

function brushOptions(editor, text) {
  // The slider is even in the logarithm: small brushes need finer steps.
  const [low, high] = [Math.log(RADIUS.least), Math.log(RADIUS.most)]
  const slider = el("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    "aria-label": text("size"),
    title: "[  ]",
    oninput: () => editor.setRadius(Math.exp(low + (high - low) * (Number(slider.value) / 100))),
  })
  const size = el("output", { class: "vm-number" })
  const finished = el("input", { type: "checkbox", onchange: () => editor.set({ finished: finished.checked }) })
  const element = el(
    "div",
    { class: "vm-brush" },
    el("label", {}, text("size"), slider),
    size,
    el("label", { title: text("finishedTip") }, finished, text("finished")),
  )
  const render = () => {
    put(slider, { value: String(Math.round(((Math.log(editor.radius) - low) / (high - low)) * 100)) })
    put(size, { textContent: `${Math.max(1, Math.round(2 * editor.radius * (editor.clip?.width ?? 0)))} px` })
    put(finished, { checked: editor.mark.painted || editor.finished, disabled: editor.mark.painted })
  }
  return { element, render }
}
