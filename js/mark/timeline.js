/** The timeline: frame numbers, a lane for each object with its marks and its track's health, and the playhead. */

import { el } from "../common/dom.js"
import { bars } from "./health.js"
import { colourOf, isBlank, saysNotHere } from "./state.js"

const RULER = 22
const LANE = 24
const LABEL = 108 // room for the objects' names
const END = 14
const SNAP = 5
const [LOST, UNSURE, SURE] = ["#ff3b30", "#ffb020", "#2f9e77"]

export class Timeline {
  constructor(editor, text, signal) {
    Object.assign(this, { editor, text, waiting: 0 })
    this.canvas = el("canvas", {})
    this.element = el(
      "div",
      { class: "vm-timeline", tabIndex: 0, role: "slider", "aria-label": text("frame") },
      this.canvas,
    )
    const listen = (name, handler) => this.element.addEventListener(name, handler, { signal })
    listen("pointerdown", event => this.press(event))
    listen(
      "pointermove",
      event => event.buttons & 1 && this.element.hasPointerCapture(event.pointerId) && this.scrub(event),
    )
    const watcher = new ResizeObserver(() => this.draw())
    watcher.observe(this.element)
    signal.addEventListener("abort", () => watcher.disconnect())
    editor.addEventListener("change", () => this.redraw(), { signal })
  }

  redraw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.draw())
  }

  press(event) {
    if (event.button !== 0 || !this.editor.clip) return
    this.element.setPointerCapture(event.pointerId)
    this.editor.set({ playing: false })
    const area = this.element.getBoundingClientRect()
    const lane = Math.floor((event.clientY - area.top + this.element.scrollTop - RULER) / LANE)
    const object = this.editor.doc.objects[lane]
    if (object && event.clientX - area.left < LABEL) return this.editor.setObject(object.id)
    const at = this.frameAt(event)
    this.editor.goTo(object ? this.snapped(at, object.id) : at)
  }

  scrub(event) {
    this.editor.goTo(this.frameAt(event))
  }

  frameAt(event) {
    const x = event.clientX - this.element.getBoundingClientRect().left - LABEL
    return Math.floor(x / this.cell)
  }

  /** In a long clip a frame is thinner than a finger or a mouse is steady: what is worth a look draws the click. */
  snapped(frame, object) {
    const { track, doc } = this.editor
    const health = track?.health.get(object)
    const worth = [
      ...doc.marks.filter(mark => mark.object === object).map(mark => mark.frame),
      ...(health?.jumps ?? []).map(jump => jump.frame),
      ...(health?.lost ?? []).map(([first]) => first),
    ]
    const near = worth.filter(other => Math.abs(other - frame) * this.cell <= SNAP)
    return near.length ? near.reduce((a, b) => (Math.abs(a - frame) <= Math.abs(b - frame) ? a : b)) : frame
  }

  get cell() {
    return Math.max(this.element.clientWidth - LABEL - END, 1) / Math.max(this.editor.clip?.frames ?? 1, 1)
  }

  x(frame) {
    return LABEL + frame * this.cell
  }

  draw() {
    this.waiting = 0
    const { editor, element, canvas } = this
    const { objects } = editor.shown
    const size = { width: Math.max(element.clientWidth, 1), height: RULER + LANE * objects.length }
    const ratio = window.devicePixelRatio || 1
    Object.assign(canvas, { width: Math.round(size.width * ratio), height: Math.round(size.height * ratio) })
    Object.assign(canvas.style, { width: `${size.width}px`, height: `${size.height}px` })
    const context = canvas.getContext("2d")
    context.scale(ratio, ratio)
    const style = getComputedStyle(element)
    this.ink = {
      text: style.color,
      faint: style.getPropertyValue("--vm-faint"),
      line: style.getPropertyValue("--vm-line"),
    }
    this.describe()
    if (!editor.clip) return
    this.drawRuler(context)
    objects.forEach((object, row) => this.drawLane(context, object, RULER + row * LANE, size.width))
    this.drawCuts(context, size.height)
    this.drawPlayhead(context, size.height)
    objects.forEach((object, row) => this.drawMarks(context, object.id, RULER + row * LANE))
  }

  /** What a screen reader says of the slider. */
  describe() {
    const { clip, frame, last } = this.editor
    const values = { "aria-valuemin": 0, "aria-valuemax": last, "aria-valuenow": frame }
    for (const [name, value] of Object.entries(values)) this.element.setAttribute(name, String(value))
    this.element.setAttribute("aria-valuetext", this.text("frameOf", frame, clip?.frames ?? 0))
  }

  drawRuler(context) {
    const { frames } = this.editor.clip
    const every =
      [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000].find(step => step * this.cell >= 46) ?? 10000
    Object.assign(context, { font: "11px sans-serif", textAlign: "center", textBaseline: "middle" })
    for (let frame = 0; frame < frames; frame += every) {
      const x = this.x(frame + 0.5)
      if (Math.abs(x - this.x(this.editor.frame + 0.5)) < 26) continue // the playhead shows its own number
      context.fillStyle = this.ink.line
      context.fillRect(x - 0.5, RULER - 5, 1, 5)
      context.fillStyle = this.ink.faint
      context.fillText(String(frame), x, RULER / 2 - 2)
    }
  }

  drawLane(context, object, top, width) {
    const { editor } = this
    const colour = colourOf(object.id)
    if (object.id === editor.object) {
      context.fillStyle = `${colour}22`
      context.fillRect(0, top, width, LANE)
    }
    context.fillStyle = colour
    context.beginPath()
    context.arc(16, top + LANE / 2, 5, 0, 2 * Math.PI)
    context.fill()
    Object.assign(context, {
      fillStyle: this.ink.text,
      font: "12px sans-serif",
      textAlign: "left",
      textBaseline: "middle",
    })
    context.fillText(shortened(context, object.name || this.text("object", object.id), LABEL - 36), 28, top + LANE / 2)
    context.fillStyle = this.ink.line
    context.fillRect(LABEL, top + LANE - 1, width - LABEL - END, 1)
    this.drawHealth(context, object.id, top)
  }

  drawMarks(context, object, top) {
    const { shown, last } = this.editor
    for (const mark of shown.marks)
      if (mark.object === object && mark.frame <= last && !isBlank(mark)) this.drawMark(context, mark, top)
  }

  drawHealth(context, object, top) {
    const room = LANE - 4
    bars(this.editor.track, object).forEach(({ height, sure, lost, jump }, frame) => {
      const x = Math.floor(this.x(frame)) // whole pixels, so that no seams show between the frames
      const width = Math.max(Math.floor(this.x(frame + 1)) - x, 1)
      const tall = Math.max(height * room, height ? 2 : 0)
      context.fillStyle = healthColour(sure)
      context.fillRect(x, top + LANE - 1 - tall, width, tall)
      if (lost) {
        context.fillStyle = LOST
        context.fillRect(x, top + LANE - 5, width, 4)
        context.globalAlpha = 0.28
        context.fillRect(x, top + 1, width, LANE - 2)
        context.globalAlpha = 1
      }
      if (jump) {
        const middle = x + this.cell / 2
        context.fillStyle = UNSURE
        context.fill(new Path2D(`M${middle - 5} ${top + 2}h10l-5 8z`))
      }
    })
  }

  /** A disc for points and boxes, a full square for what is painted, a ring for "not here". */
  drawMark(context, mark, top) {
    const [x, y] = [this.x(mark.frame + 0.5), top + LANE / 2]
    const shape = new Path2D()
    if (mark.painted && !saysNotHere(mark)) shape.rect(x - 4.5, y - 4.5, 9, 9)
    else shape.arc(x, y, 5, 0, 2 * Math.PI)
    Object.assign(context, {
      lineWidth: 2,
      strokeStyle: "#000000b0",
      fillStyle: saysNotHere(mark) ? "#303030" : "#fff",
    })
    context.stroke(shape)
    context.fill(shape)
    Object.assign(context, { strokeStyle: colourOf(mark.object) })
    context.stroke(shape)
  }

  drawCuts(context, height) {
    context.fillStyle = this.ink.text
    for (const frame of this.editor.track?.cuts ?? [])
      for (let y = RULER; y < height; y += 6) context.fillRect(this.x(frame) - 0.5, y, 1, 3)
  }

  drawPlayhead(context, height) {
    const { frame } = this.editor
    const x = this.x(frame + 0.5)
    const half = Math.max(this.cell / 2, 0.75)
    context.fillStyle = `${this.ink.text}`
    context.globalAlpha = 0.16
    context.fillRect(x - half, RULER, 2 * half, height - RULER)
    context.globalAlpha = 1
    context.fillRect(x - 0.75, RULER - 4, 1.5, height - RULER + 4)
    Object.assign(context, { font: "600 11px sans-serif", textAlign: "center", textBaseline: "middle" })
    const wide = context.measureText(String(frame)).width + 12
    const pill = new Path2D()
    pill.roundRect(x - wide / 2, 1, wide, RULER - 5, 5)
    context.fill(pill)
    context.fillStyle = getComputedStyle(this.element).getPropertyValue("--vm-back")
    context.fillText(String(frame), x, RULER / 2 - 1)
  }
}

/** From the tracker's confidence: below 0.1 it follows something else. */
function healthColour(sure) {
  const [low, high, part] = sure < 0.5 ? [LOST, UNSURE, (sure - 0.1) / 0.4] : [UNSURE, SURE, (sure - 0.5) / 0.35]
  return `color-mix(in srgb, ${high} ${Math.round(Math.min(Math.max(part, 0), 1) * 100)}%, ${low})`
}

function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text
  let kept = text
  while (kept && context.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1)
  return `${kept}…`
}
