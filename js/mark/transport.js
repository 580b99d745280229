/** Below the stage: step, play, go to a frame, jump from mark to mark. */

import { el, iconButton, put, svg } from "../common/dom.js"

const FRAMES_A_SECOND = 12

export function transport(editor, text, isThere, signal) {
  const marked = () => editor.doc.marks.map(mark => mark.frame)
  const play = iconButton("play", `${text("play")} (K)`, () => editor.set({ playing: !editor.playing }), {
    "data-do": "play",
  })
  const number = el("input", {
    type: "number",
    class: "vm-frame",
    min: 0,
    step: 1,
    "aria-label": text("frame"),
    onchange: () => editor.goTo(Number(number.value) || 0),
  })
  const count = el("span", { class: "vm-number" })
  const masks = el(
    "button",
    {
      type: "button",
      class: "vm-choice vm-alone",
      "data-do": "masks",
      title: "M",
      onclick: () => editor.set({ masksShown: !editor.masksShown }),
    },
    svg("shown"),
    text("trackedMask"),
  )
  const buttons = [
    iconButton("first", `${text("first")} (Home)`, () => editor.goTo(0)),
    iconButton("previous", `${text("previous")} (←)`, () => editor.step(-1), { "data-do": "previous" }),
    play,
    iconButton("next", `${text("next")} (→)`, () => editor.step(1), { "data-do": "next" }),
    iconButton("last", `${text("last")} (End)`, () => editor.goTo(editor.last)),
  ]
  const render = () => {
    if (document.activeElement !== number) put(number, { value: String(editor.frame) })
    put(number, { max: String(editor.last) })
    put(count, { textContent: `/ ${editor.last}` })
    put(masks, { "aria-pressed": editor.masksShown, disabled: !editor.track })
    if (play.dataset.playing !== String(editor.playing)) {
      play.dataset.playing = String(editor.playing)
      play.replaceChildren(svg(editor.playing ? "pause" : "play"))
    }
  }
  // A picture that is still on its way is waited for.
  const beat = setInterval(() => {
    if (!editor.playing || !editor.clip || !isThere(editor.frame)) return
    editor.goTo(editor.frame === editor.last ? 0 : editor.frame + 1)
  }, 1000 / FRAMES_A_SECOND)
  signal.addEventListener("abort", () => clearInterval(beat))
  editor.addEventListener("change", render, { signal })
  render()
  return el(
    "div",
    { class: "vm-transport" },
    ...buttons,
    number,
    count,
    el(
      "button",
      { type: "button", class: "vm-choice vm-alone", onclick: () => editor.jump(-1, marked()) },
      svg("previous"),
      text("markBefore"),
    ),
    el(
      "button",
      { type: "button", class: "vm-choice vm-alone", onclick: () => editor.jump(1, marked()) },
      text("markAfter"),
      svg("next"),
    ),
    el("span", { class: "vm-spring" }),
    masks,
  )
}
