/** The stage: the canvas with the frame, its zoom, and the mouse, pen and fingers on it. */

import { el } from "../common/dom.js"
import { fitted, moved, pinched, toFrame, zoomed } from "../common/geometry.js"
import { begin, pointAt, sidesAt } from "./gestures.js"
import { Masks } from "./masks.js"
import { drawStage } from "./view.js"

const REACH = { mouse: 11, pen: 13, touch: 22 } // how near to a point or a side counts as on it, in CSS pixels
const WHEEL = 0.0016

export class Stage {
  /** @param {Editor} editor @param {(index: number) => HTMLImageElement|null} pictureAt @param {AbortSignal} signal */
  constructor(editor, pictureAt, text, signal) {
    Object.assign(this, { editor, pictureAt, masks: new Masks(), pointers: new Map(), view: null, whole: true })
    Object.assign(this, { gesture: null, hover: null, spaceHeld: false, last: null, waiting: 0 })
    this.canvas = el("canvas", {})
    this.element = el(
      "div",
      { class: "vm-stage", tabIndex: 0, role: "application", "aria-label": text("stage") },
      this.canvas,
    )
    this.size = { width: 1, height: 1 }
    const listen = (name, handler, options) => this.element.addEventListener(name, handler, { signal, ...options })
    listen("pointerdown", event => this.down(event))
    listen("pointermove", event => this.move(event))
    listen("pointerup", event => this.up(event))
    listen("pointercancel", event => this.up(event, true))
    listen("pointerleave", () => this.point(null))
    listen("wheel", event => this.wheel(event), { passive: false })
    listen("contextmenu", event => event.preventDefault())
    const watcher = new ResizeObserver(() => this.resized())
    watcher.observe(this.element)
    signal.addEventListener("abort", () => watcher.disconnect())
    editor.addEventListener("change", () => this.redraw(), { signal })
  }

  resized() {
    const { clientWidth: width, clientHeight: height } = this.element
    this.size = { width: Math.max(width, 1), height: Math.max(height, 1) }
    const ratio = window.devicePixelRatio || 1
    Object.assign(this.canvas, {
      width: Math.round(this.size.width * ratio),
      height: Math.round(this.size.height * ratio),
    })
    if (this.whole) this.view = null
    this.draw()
  }

  /** The whole frame again. */
  fit() {
    const { clip } = this.editor
    Object.assign(this, { view: clip ? fitted(clip, this.size) : null, whole: true })
    this.redraw()
  }

  zoom(factor, at = { x: this.size.width / 2, y: this.size.height / 2 }) {
    if (!this.editor.clip) return
    this.look(zoomed(this.view, factor, at, this.editor.clip, this.size))
  }

  look(view) {
    Object.assign(this, { view, whole: false })
    this.redraw()
  }

  redraw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.draw())
  }

  draw() {
    this.waiting = 0
    const { editor, canvas, size } = this
    const context = canvas.getContext("2d")
    context.setTransform(canvas.width / size.width, 0, 0, canvas.height / size.height, 0, 0)
    if (!editor.clip) return context.clearRect(0, 0, size.width, size.height)
    this.view ??= fitted(editor.clip, size)
    const picture = this.pictureAt(editor.frame)
    if (picture) this.last = picture
    const layers = picture ? this.masks.on(editor, editor.frame) : []
    drawStage(context, {
      editor,
      view: this.view,
      stage: size,
      picture: picture ?? this.last,
      layers,
      hover: this.hover,
    })
    this.element.dataset.drawn = picture ? String(editor.frame) : ""
    this.element.style.cursor = this.cursor()
  }

  place(event) {
    const area = this.element.getBoundingClientRect()
    return { x: event.clientX - area.left, y: event.clientY - area.top }
  }

  reach(event) {
    const { clip } = this.editor
    const pixels = REACH[event.pointerType] ?? REACH.mouse
    return { x: pixels / this.view.scale / clip.width, y: pixels / this.view.scale / clip.height }
  }

  down(event) {
    if (!this.editor.clip || !this.view) return
    this.element.focus({ preventScroll: true })
    event.preventDefault()
    this.element.setPointerCapture(event.pointerId)
    this.pointers.set(event.pointerId, this.place(event))
    this.editor.set({ playing: false })
    if (this.pointers.size > 1) return this.drop() // two fingers: what the first began was no mark
    const pans = event.button === 1 || this.spaceHeld || (this.editor.tool === "pan" && event.button === 0)
    if (pans) this.gesture = this.panning(event)
    else if (event.button !== 1) this.gesture = this.marking(event)
    this.redraw()
  }

  panning(event) {
    let from = this.place(event)
    const move = (_, at) => {
      this.look(moved(this.view, at.x - from.x, at.y - from.y, this.editor.clip, this.size))
      from = at
    }
    return { move, end() {}, cancel() {}, pans: true }
  }

  marking(event) {
    const { clip } = this.editor
    const at = toFrame(this.view, this.place(event), clip)
    const pixel = 1.5 / this.view.scale / clip.width
    return begin(this.editor, at, { other: event.button === 2 || event.altKey, reach: this.reach(event), pixel })
  }

  move(event) {
    if (!this.editor.clip || !this.view) return
    const at = this.place(event)
    this.point(event.pointerType === "touch" ? null : at, event)
    if (!this.pointers.has(event.pointerId)) return
    if (this.pointers.size === 2) {
      const before = [...this.pointers.values()]
      this.pointers.set(event.pointerId, at)
      return this.look(pinched(this.view, before, [...this.pointers.values()], this.editor.clip, this.size))
    }
    this.pointers.set(event.pointerId, at)
    if (!this.gesture) return
    const passed = event.getCoalescedEvents?.() ?? []
    for (const each of passed.length ? passed : [event])
      this.gesture.move(toFrame(this.view, this.place(each), this.editor.clip), this.place(each))
  }

  up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId) || !this.gesture) return
    const { gesture } = this
    this.gesture = null
    if (cancelled) gesture.cancel()
    else gesture.end()
    this.redraw()
  }

  /** Give up what is being drawn. Returns whether there was something. */
  drop() {
    const { gesture } = this
    this.gesture = null
    gesture?.cancel()
    return Boolean(gesture)
  }

  holdSpace(held) {
    if (this.spaceHeld !== held) Object.assign(this, { spaceHeld: held })
    this.redraw()
  }

  wheel(event) {
    event.preventDefault()
    if (!this.editor.clip || !this.view) return
    const lines = event.deltaMode === 1 ? 16 : 1
    const speed = event.ctrlKey ? 5 : 1 // a pinch on a trackpad comes as a wheel with small steps
    this.zoom(Math.exp(-event.deltaY * lines * WHEEL * speed), this.place(event))
  }

  /** The pointer is over a place of the stage: the brush's circle and the cursor follow it. */
  point(at, event = null) {
    this.hover = at && this.editor.clip && this.view ? toFrame(this.view, at, this.editor.clip) : null
    this.near = event
    this.redraw()
  }

  cursor() {
    const { editor, hover } = this
    if (this.spaceHeld || editor.tool === "pan") return this.gesture?.pans ? "grabbing" : "grab"
    if (editor.tool === "paint" || editor.tool === "erase") return "none"
    if (!hover || !this.near) return "crosshair"
    const reach = this.reach(this.near)
    if (editor.tool === "point") return pointAt(editor, hover, reach) ? "move" : "crosshair"
    const sides = sidesAt(editor, hover, reach)
    if (!sides) return "crosshair"
    const [across, down] = [sides.left || sides.right, sides.top || sides.bottom]
    if (across && down) return sides.left === sides.top ? "nwse-resize" : "nesw-resize"
    return across ? "ew-resize" : "ns-resize"
  }
}
