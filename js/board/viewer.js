/** The large view of a try: before and after with a wipe between them; it is zoomed and moved like any picture. */

import { el, put, svg } from "../common/dom.js"
import { fitted, moved, pinched, zoomed } from "../common/geometry.js"

const STEP = 0.05 // of the wipe, for a key
const CLOSE = 24 // how near to the wipe's line a press takes hold of it, in CSS pixels
const STILL = 3 // a pointer that goes less far has not been dragged
const WHEEL = 0.0016
const SHARP = 3 // pixels of the picture that are larger than so many of the page are shown as they are

export class Viewer {
  constructor(text, signal) {
    Object.assign(this, { text, shown: null, lost: false, view: null, whole: true, wipe: 0 })
    Object.assign(this, { gesture: null, pointers: new Map() })
    this.after = el("img", { alt: "", draggable: false, onload: () => this.draw(), onerror: () => this.lose() })
    this.before = el("img", { class: "vb-before", alt: "", draggable: false, onload: () => this.draw() })
    this.line = el("div", { class: "vb-line" }, el("span", { class: "vb-knob" }, svg("wipe")))
    this.tags = ["before", "after"].map(name => el("span", { class: "vb-tag", "data-side": name }, text(name)))
    this.note = el("p", { class: "vb-note", hidden: true })
    this.film = el("video", { class: "vb-film", muted: true, loop: true, playsInline: true, controls: true, hidden: true })
    this.element = el(
      "div",
      { class: "vb-view", tabIndex: 0, role: "slider", "aria-label": text("wipe"), "aria-valuemin": 0 },
      this.after,
      this.before,
      this.line,
      ...this.tags,
      this.note,
      this.film,
    )
    put(this.element, { "aria-valuemax": 100 })
    this.listen(signal)
  }

  listen(signal) {
    const on = (name, handler, options) => this.element.addEventListener(name, handler, { signal, ...options })
    on("pointerdown", event => this.down(event))
    on("pointermove", event => this.move(event))
    for (const name of ["pointerup", "pointercancel"]) on(name, event => this.up(event))
    on("dblclick", event => (this.whole ? this.zoom(4, this.place(event)) : this.fit()))
    on("keydown", event => this.key(event))
    const watcher = new ResizeObserver(() => this.draw())
    watcher.observe(this.element)
    signal.addEventListener("abort", () => watcher.disconnect())
  }

  /** Show a picture: {name, url, before: url or null, width, height}; null for none, with a line that says why. */
  show(picture, note = "") {
    const same = picture?.name === this.shown?.name && picture?.url === this.shown?.url && !this.lost
    put(this.note, { textContent: note, hidden: !note })
    if (!same) {
      const sized = picture?.width === this.shown?.width && picture?.height === this.shown?.height
      this.shown = picture
      this.lost = false
      this.load(this.after, picture?.url)
      this.load(this.before, picture?.before)
      if (!sized) Object.assign(this, { view: null, whole: true })
    }
    this.draw()
  }

  /** Play a film over the picture; null takes it away. */
  play(url) {
    if (this.film.getAttribute("src") === url) return
    put(this.film, { hidden: !url })
    this.load(this.film, url)
    if (url) this.film.play().catch(() => null) // a page that may not start films leaves that to the user
    else this.film.pause()
  }

  load(image, url) {
    if (url) image.src = url
    else image.removeAttribute("src")
  }

  lose() {
    this.lost = Boolean(this.shown)
    if (this.lost) put(this.note, { textContent: this.text("fileGone"), hidden: false })
    this.draw()
  }

  get size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight }
  }

  fit() {
    this.whole = true
    this.draw()
  }

  zoom(factor, at = { x: this.size.width / 2, y: this.size.height / 2 }) {
    if (!this.shown || !this.view) return
    this.look(zoomed(this.view, factor, at, this.shown, this.size))
  }

  look(view) {
    this.whole = view.scale <= fitted(this.shown, this.size, 0).scale
    this.view = view
    this.draw()
  }

  setWipe(part) {
    this.wipe = Math.min(Math.max(part, 0), 1)
    this.draw()
  }

  /** The part of the stage over which the wipe goes: where the picture is seen. */
  span() {
    const [left, right] = [this.view.x, this.view.x + this.shown.width * this.view.scale]
    return [Math.max(left, 0), Math.min(right, this.size.width)]
  }

  draw() {
    const { shown, size } = this
    const there = Boolean(shown) && size.width > 0 && size.height > 0
    const pictures = there && !this.lost
    for (const part of [this.after, this.before, this.line, ...this.tags]) put(part, { hidden: !pictures })
    if (!there) return
    if (this.whole || !this.view) this.view = fitted(shown, size, 0)
    const wipes = Boolean(shown.before) && this.before.naturalWidth > 0
    for (const image of [this.after, this.before]) this.lay(image)
    this.drawWipe(pictures && wipes)
    put(this.element, { "data-zoomed": !this.whole, "data-shown": this.after.naturalWidth > 0 ? shown.name : "" })
  }

  lay(image) {
    const { x, y, scale } = this.view
    const [width, height] = [this.shown.width * scale, this.shown.height * scale]
    Object.assign(image.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` })
    image.style.imageRendering = scale >= SHARP ? "pixelated" : "auto"
  }

  drawWipe(wipes) {
    const [left, right] = this.span()
    const at = left + this.wipe * (right - left)
    for (const part of [this.before, this.line, ...this.tags]) put(part, { hidden: !wipes })
    put(this.element, { "aria-valuenow": Math.round(this.wipe * 100) })
    if (!wipes) return
    const cut = this.view.x + this.shown.width * this.view.scale - at
    this.before.style.clipPath = `inset(0 ${cut}px 0 0)`
    const room = this.size.width
    this.line.style.left = `${at}px`
    put(this.tags[0], { hidden: at < 56 })
    put(this.tags[1], { hidden: room - at < 56 })
  }

  /** Where a pointer is on the stage, in its own pixels: the page may have scaled the whole node. */
  place(event) {
    const area = this.element.getBoundingClientRect()
    const scale = this.size.width / Math.max(area.width, 1)
    return { x: (event.clientX - area.left) * scale, y: (event.clientY - area.top) * scale }
  }

  down(event) {
    if (!this.shown || !this.view || event.button > 0 || event.target === this.film) return
    this.element.setPointerCapture(event.pointerId)
    this.pointers.set(event.pointerId, this.place(event))
    if (this.pointers.size > 1) this.gesture = null
    else this.gesture = this.begin(this.place(event))
  }

  /** A drag moves the wipe; in a zoomed picture it moves the picture, but for one that begins on the wipe's line. */
  begin(from) {
    const [left, right] = this.span()
    const near = Math.abs(left + this.wipe * (right - left) - from.x) <= CLOSE
    let [last, dragged] = [from, false]
    const wipes = Boolean(this.shown.before) && (this.whole || near)
    return at => {
      dragged ||= Math.hypot(at.x - from.x, at.y - from.y) > STILL
      if (!dragged) return
      if (wipes) this.setWipe((at.x - left) / Math.max(right - left, 1))
      else if (!this.whole) this.look(moved(this.view, at.x - last.x, at.y - last.y, this.shown, this.size))
      last = at
    }
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return
    const before = [...this.pointers.values()]
    this.pointers.set(event.pointerId, this.place(event))
    if (this.pointers.size === 2)
      this.look(pinched(this.view, before, [...this.pointers.values()], this.shown, this.size))
    else this.gesture?.(this.place(event))
  }

  up(event) {
    this.pointers.delete(event.pointerId)
    this.gesture = null
  }

  /** Whether a turn of the wheel is meant for this picture, and not for the graph under it. */
  takesWheel(event) {
    return Boolean(this.shown) && (!this.whole || event.ctrlKey || document.activeElement === this.element)
  }

  wheel(event) {
    const lines = event.deltaMode === 1 ? 16 : 1
    const speed = event.ctrlKey ? 5 : 1 // a pinch on a trackpad comes as a wheel with small steps
    this.zoom(Math.exp(-event.deltaY * lines * WHEEL * speed), this.place(event))
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const commands = {
      ArrowLeft: () => this.setWipe(this.wipe - STEP),
      ArrowRight: () => this.setWipe(this.wipe + STEP),
      Home: () => this.setWipe(0),
      End: () => this.setWipe(1),
      "+": () => this.zoom(1.3),
      "=": () => this.zoom(1.3),
      "-": () => this.zoom(1 / 1.3),
      0: () => this.fit(),
    }
    const command = commands[event.key]
    if (!command) return
    event.preventDefault()
    event.stopPropagation()
    command()
  }
}
